"""A wheel, built from a clone and installed where no clone is: without Horovod, which is built by hand."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import hindcast
from tests.release.cloned import clone

pytestmark = [pytest.mark.release, pytest.mark.timeout(1800)]

ABSENT = ("hindcast", "__editable__", "horovod")
BESIDE = {
    "forecasting/report/page.html": 0o444,
    "forecasting/report/page_base.html": 0o444,
    "forecasting/report/page_parts.html": 0o444,
    "forecasting/report/page.css": 0o444,
    "forecasting/report/survey/survey.html": 0o444,
    "launch/spark/log4j2.properties": 0o444,
    "prep/spark/discover_gpus": 0o555,
    "py.typed": 0o444,
}
SMALL = (
    "--cluster.master", "local[2]", "--windows.context", "24", "--windows.horizon", "6", "--hmm.states", "2",
    "--hmm.iterations", "3", "--hmm.order", "1", "--lstm.units", "8", "--lstm.epochs", "1",
)  # fmt: skip
PYTHON = """
import numpy as np, pandas as pd
import hindcast as hc
hours = 600
times = pd.date_range("2025-01-01", periods=hours, freq="h")
frame = pd.DataFrame({"time": times, "wave": np.sin(np.arange(hours) * np.pi / 12)})
dataset = hc.prepare(frame, context=24, horizon=6)
model = hc.fit("lstm", dataset, units=8, epochs=1)
comparison = hc.compare(dataset, {"small": model}, out="page")
assert "small" in comparison.rows and len(hc.forecast(model, frame)) == 6
try:
    hc.fit("lstm", dataset, cluster={"on": "horovod"})
except hc.InputError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    built = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    source = clone(folder / "clone")
    subprocess.run([*built, "--no-index", "-w", str(folder), str(source)], check=True, timeout=600, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the wheel and with all that it needs: links to the packages that are installed here."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True, timeout=300)
    (folder / "packages").mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(ABSENT) and path.suffix != ".pth":
            (folder / "packages" / path.name).symlink_to(path)
    program = folder / "venv/bin/python"
    (places,) = (folder / "venv/lib").glob("python*/site-packages")
    (places / "packages.pth").write_text(f"{folder / 'packages'}\n")
    install = [program, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=600, cwd=folder, env=environment(folder))
    return program


def environment(home: Path) -> dict[str, str]:
    """Without a way to the clone that the tests run in."""
    dropped = ("PYTHONPATH", "HINDCAST_CACHE", "VIRTUAL_ENV", "PYSPARK_PYTHON")
    return {name: value for name, value in os.environ.items() if name not in dropped} | {"HOME": str(home), "COLUMNS": "200"}


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(python.with_name("hindcast")), *words] if words[0] != "-c" else [str(python), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment(folder), timeout=900)


def test_a_wheel_holds_hindcast_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        entries = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    tops = {name.partition("/")[0] for name in entries}
    assert tops == {"hindcast", f"hindcast-{hindcast.__version__}.dist-info"}
    code = {name for name in entries if name.startswith("hindcast/")}
    assert {name for name in code if not name.endswith(".py")} == {f"hindcast/{name}" for name in BESIDE}
    for name, mode in BESIDE.items():
        assert stat.S_IMODE(entries[f"hindcast/{name}"]) & 0o555 == mode, name
    root = Path(hindcast.__file__).parents[1]
    folders = [path.name for path in (root / "hindcast").iterdir() if path.is_symlink()]
    ours = {f"hindcast/{path.relative_to(root)}" for folder in folders for path in (root / folder).rglob("*.py")}
    assert ours <= code


def test_the_version_of_an_installed_wheel(python: Path, tmp_path: Path) -> None:
    assert run(python, tmp_path, "--version").stdout == f"hindcast {hindcast.__version__}\n"
    found = run(python, tmp_path, "-c", "import hindcast.launch.cli.main as main; print(main.__file__)").stdout
    assert Path(found).is_relative_to(python.parents[1])
    assert os.access(Path(found).parents[2] / "prep/spark/discover_gpus", os.X_OK)


def test_without_horovod_a_demo_says_what_to_add_and_trains_in_one_process(python: Path, tmp_path: Path) -> None:
    refused = run(python, tmp_path, "demo", *SMALL)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert refused.stderr.startswith("hindcast: Horovod is not installed here")
    assert list((tmp_path / "out/demo").iterdir()) == []
    ran = run(python, tmp_path, "demo", "--fit", "hmm", "--fit", "lstm", "--cluster.on", "local", *SMALL)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert (tmp_path / "out/demo/report.html").stat().st_size > 10_000
    refused = run(python, tmp_path, "fit", "lstm", "out/demo/fleet.seq", "--out", "m", *SMALL[:2])
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert "Horovod is not installed here" in refused.stderr
    assert not (tmp_path / "m").exists()


def test_the_public_names_work_from_a_wheel(python: Path, tmp_path: Path) -> None:
    ran = run(python, tmp_path, "-c", PYTHON)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.splitlines()[-1].startswith("Horovod is not installed here")
    assert (tmp_path / "page/scores.json").is_file()
