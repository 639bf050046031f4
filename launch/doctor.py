"""`hindcast doctor`: tries everything that Hindcast needs on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rich.table import Table

from hindcast.forecasting.kind import Kind
from hindcast.launch.kinds import KINDS
from hindcast.launch.settings import Settings
from hindcast.launch.spark.java import java_home, java_version
from hindcast.launch.spark.session import spark_session
from hindcast.launch.watching.progress import Progress, console
from hindcast.prep.errors import InputError
from hindcast.prep.spark.descriptions import described

MARKS = {"works": "[green]✓[/]", "absent": "[yellow]–[/]", "fails": "[red]✗[/]"}
INSTALL = "requirements/install.sh installs it"


@dataclass(frozen=True)
class Finding:
    """A line of the doctor's table: the subject, its state, details, and how to mend it where that is needed."""

    subject: str
    state: Literal["works", "absent", "fails"]
    detail: str
    mend: str = ""


def examine(settings: Settings) -> bool:
    """Tries everything, prints a table, and returns whether all that Hindcast needs works. A missing GPU is no failure.

    settings   of the models whose fits are probed
    """
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "Python": python, "Java": java, "Spark and Petastorm": spark_and_petastorm, "TensorFlow": tensorflow, "Horovod": horovod,
        "GPU": gpus,
        **{kind.plural: partial(probes, kind, settings) for kind in KINDS.values() if kind.probe is not None},
        "Cores": cores, "Memory": memory, "Disk": disk,
    }  # fmt: skip
    progress, findings = Progress(), []
    with progress.stage("trying what Hindcast needs"):
        for subject, look in looks.items():
            progress.update(subject)
            findings += look_at(subject, look)
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        table.add_row(
            MARKS[finding.state],
            f"[bold]{finding.subject}[/]",
            finding.detail + (f"\n[dim]{finding.mend}[/]" if finding.mend else ""),
        )
    console.print(table)
    failing = [finding.subject for finding in findings if finding.state == "fails"]
    console.print(
        f"[red]does not work:[/] {', '.join(failing)}" if failing else "[green]everything that Hindcast needs works here[/]"
    )
    return not failing


def look_at(subject: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """The findings of a look; an error in it is a finding too."""
    try:
        return list(look())
    except Exception as error:
        return [Finding(subject, "fails", f"{type(error).__name__}: {str(error).strip()}", INSTALL)]


def python() -> Iterator[Finding]:
    fits = sys.version_info[:2] == (3, 11)
    yield Finding("Python", "works" if fits else "fails", sys.version.split()[0], "" if fits else "Python 3.11 is needed")


def java() -> Iterator[Finding]:
    home = java_home()
    yield Finding("Java", "works", f"{java_version(home)} in {home}")


def spark_and_petastorm() -> Iterator[Finding]:
    import numpy as np
    import petastorm
    import pyspark

    from hindcast.prep.dataset.blocks import read
    from hindcast.prep.dataset.sequence_dataset import SequenceDataset
    from hindcast.prep.pipeline import prepare
    from hindcast.prep.spec import Spec

    with (
        tempfile.TemporaryDirectory() as scratch,
        spark_session("local[1]", "hindcast doctor") as spark,
        described(spark.sparkContext, "doctor"),
    ):
        yield Finding("Spark", "works", f"{pyspark.__version__}: counted {spark.range(1000).count()} rows")
        readings = Path(scratch) / "readings.csv"
        hours = np.datetime_as_string(np.datetime64("2025-01-01T00") + np.arange(100), "s")
        readings.write_text("timestamp,value\n" + "\n".join(f"{hour},{i}" for i, hour in enumerate(hours)))
        spec = Spec.model_validate({"readings": {"path": str(readings)}, "windows": {"context": 6, "horizon": 2}})
        prepare(spark, spec, Path(scratch) / "dataset")
        addresses = SequenceDataset.open(Path(scratch) / "dataset").addresses("train")
        steps = sum(int((read(address).own_stop - read(address).own_start).sum()) for address in addresses)
    works = steps == 70
    yield Finding(
        "Petastorm", "works" if works else "fails", f"{petastorm.__version__}: wrote and read {steps} steps of training data"
    )


def tensorflow() -> Iterator[Finding]:
    versions = run_python("import keras, tensorflow as tf; print(tf.__version__, keras.__version__)")
    yield Finding("TensorFlow", "works", "{}, Keras {}".format(*versions.split()))


def horovod() -> Iterator[Finding]:
    words = run_python(
        "import horovod, horovod.tensorflow as hvd; hvd.init(); print(horovod.__version__, hvd.gloo_built(), hvd.size())"
    )
    release, gloo, _ = words.split()
    state: Literal["works", "fails"] = "works" if gloo in ("1", "True") else "fails"
    yield Finding(
        "Horovod", state, f"{release}, {'with' if state == 'works' else 'without'} Gloo", "" if state == "works" else INSTALL
    )


def gpus() -> Iterator[Finding]:
    from hindcast.prep.spark.gpus import gpus_here

    smi = shutil.which("nvidia-smi")
    names = subprocess.run([smi, "-L"], capture_output=True, text=True, timeout=30).stdout.strip() if smi else ""
    if not names:
        yield Finding("GPU", "absent", "none found (no nvidia-smi, or it lists none): everything runs on the CPU")
        return
    visible = run_python("import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))")
    mend = "" if int(visible) else "TensorFlow sees none: requirements/install.sh VENV gpu installs one that does"
    yield Finding("GPU", "works" if int(visible) else "absent", names, mend)
    addresses = gpus_here(0)
    yield Finding(
        "GPUs for ranks",
        "works" if addresses else "absent",
        f"cluster.gpus_per_worker finds {len(addresses)} here" + (f": {', '.join(addresses)}" if addresses else ""),
        "" if addresses else "CUDA_VISIBLE_DEVICES hides them all",
    )


def probes(kind: Kind, settings: Settings) -> Iterator[Finding]:
    """The hardware that a fit of these settings would use, by the kind's own code in a Python of its own."""
    code = (
        "import json, sys; from dataclasses import asdict; from hindcast.launch.kinds import KINDS; kind = KINDS[sys.argv[1]]; "
        "given = json.loads(sys.argv[2]); "
        "tables = {name: model.model_validate(given[name]) for name, model in kind.tables.items()}; "
        "print(json.dumps([asdict(probe) for probe in kind.probe(tables)]))"
    )
    tables = {name: table.model_dump(mode="json") for name, table in settings.of(kind).items()}
    for probe in json.loads(run_python(code, kind.name, json.dumps(tables))):
        why_not = probe["why_not"]
        state: Literal["works", "absent"] = "works" if why_not is None else "absent"
        yield Finding(probe["what"], state, probe["with_it"] if why_not is None else f"{probe['without']}: {why_not}")


def cores() -> Iterator[Finding]:
    yield Finding("Cores", "works", str(len(os.sched_getaffinity(0))))


def memory() -> Iterator[Finding]:
    import psutil

    free = psutil.virtual_memory().available / 2**30
    enough = free >= 4
    yield Finding(
        "Memory", "works" if enough else "fails", f"{free:.1f} GiB free", "" if enough else "4 GiB are needed for the demo"
    )


def disk() -> Iterator[Finding]:
    for folder in (Path.cwd(), Path(tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free / 2**30
        enough = free >= 1
        yield Finding(
            "Disk", "works" if enough else "fails", f"{free:.1f} GiB free in {folder}", "" if enough else "1 GiB is needed"
        )


def run_python(code: str, *arguments: str) -> str:
    """The last line that another Python prints, which imports from where this one does. Raises InputError where it fails."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-c", code, *arguments]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    if ran.returncode:
        raise InputError((ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"])[-1])
    return ran.stdout.strip().splitlines()[-1]
