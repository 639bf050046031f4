"""Spark's Java classes as they are once loaded and checked, for every later start to map into memory (JDK's class data sharing).

Most of what Spark's Java does when it starts is to unpack and verify some ten thousand classes, each time the same.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from hindcast.launch.spark.java import DRIVER_JAVA, archive_place, java_home

WRITE_SECONDS = 600.0


def archive_classes() -> None:
    """Writes the archive of the classes that preparation needs.

    Raises OSError where it cannot be written, and subprocess.SubprocessError where Spark cannot start here.
    """
    place = archive_place()
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        written = str(Path(folder) / place.name)
        code = "import sys; from hindcast.launch.spark.class_archive import load_classes; load_classes(*sys.argv[1:])"
        # Java writes it when it ends, after the Python that has started it: until then, it holds what both print to.
        subprocess.run([sys.executable, "-c", code, folder, written], check=True, capture_output=True, timeout=WRITE_SECONDS)
        with open(written, "rb") as archive:
            os.fsync(archive.fileno())  # Java ends by a signal where half of one is there
        os.replace(written, place)


def load_classes(folder: str, written: str) -> None:
    """Prepares a few made-up readings in a folder, with a Java that writes down at its end which classes it has loaded."""
    from hindcast.launch.spark.session import spark_session
    from hindcast.prep.pipeline import prepare
    from hindcast.prep.spec import Spec
    from hindcast.prep.synthetic.fleet import draw, write_readings

    home = java_home()
    if not (home / "lib/server/classes.jsa").exists():  # the archive of Java's own classes, which ours goes on from
        subprocess.run([home / "bin/java", "-Xshare:dump"], check=True)
    readings = Path(folder) / "readings.csv"
    write_readings(draw(2, 60, seed=0), readings, readings.with_name("regimes.csv"), seed=0)
    tables = {
        "readings": {"path": str(readings), "timestamp": "time", "series": "sensor", "bad_rows": "quarantine"},
        "grid": {"step": "1h", "duplicates": "first"},
        "split": {"train": 40, "validation": 10, "test": 10},
        "windows": {"context": 6, "horizon": 2},
    }
    with spark_session(
        "local[2]", "classes", {DRIVER_JAVA: f'-XX:TieredStopAtLevel=1 -XX:ArchiveClassesAtExit="{written}"'}
    ) as spark:
        prepare(spark, Spec.model_validate(tables), readings.with_name("fleet.seq"))


def main() -> None:
    """`python -m hindcast.launch.spark.class_archive`. Without an archive all works as it does with one, and a line says why
    there is none."""
    try:
        archive_classes()
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or b""
        reason = output.decode(errors="replace").strip().rpartition("\n")[2] or error
        print(
            f"hindcast: no archive of Java's classes, and Spark starts as it does without: {reason}. Mend that, then: "
            "python -m hindcast.launch.spark.class_archive",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main()
