"""What `hindcast` says of an error that Spark brings back from a cluster: in a line."""

from __future__ import annotations

import pytest

from hindcast.launch.cli import main as cli
from hindcast.launch.cli.explaining import explain
from hindcast.launch.spark import ended
from hindcast.prep.errors import InputError, RunError

IN_JAVA = """An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: {why}
Lost task 1.3 in stage 11.0 (TID 23) (10.0.0.7 executor 1): java.nio.file.FileSystemException: /disk/blockmgr/38: {reason}
\tat java.base/sun.nio.fs.UnixException.translateToIOException(UnixException.java:100)

Driver stacktrace:
\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2898)
"""
FAILED = "Task 1 in stage 11.0 failed 4 times, most recent failure:"
EXCLUDED = (
    "\nAborting TaskSet 11.0 because task 1 (partition 1)\ncannot run anywhere due to node and executor excludeOnFailure.\n"
    "Most recent failure:"
)


def test_a_full_disk_is_told_with_its_host_and_folder_and_how_to_mend_it() -> None:
    for why in (f"{FAILED} ", f"{EXCLUDED}\n"):
        text = IN_JAVA.format(why=why, reason="No space left on device").replace("failure: \nLost", "failure: Lost")
        message, mendable = explain(RuntimeError(text))
        assert message.startswith(
            "java.nio.file.FileSystemException: /disk/blockmgr/38: No space left on device (in a Spark task"
        )
        assert "on 10.0.0.7;" in message
        assert message.endswith(
            "Free some space there: Spark keeps its work in spark.local.dir, or in SPARK_LOCAL_DIRS of its workers"
        )
        assert "\n" not in message
        assert not mendable


def test_what_python_raised_in_a_task_is_told_with_the_host() -> None:
    python = "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n  File x\nKeyError: 'heat'\n"
    text = f"{FAILED} Lost task 0.3 in stage 2.0 (TID 5) (10.0.0.8 executor 0): {python}"
    assert explain(RuntimeError(text)) == ("KeyError: 'heat' (in a Spark task on 10.0.0.8; --debug shows the traceback)", False)
    assert explain(RuntimeError(text.replace("KeyError: 'heat'", "hindcast.prep.errors.InputError: mend it"))) == (
        "mend it",
        True,
    )
    assert explain(RuntimeError(python))[0] == "KeyError: 'heat' (in a Spark task; --debug shows the traceback)"


def test_an_application_that_spark_ended_is_no_defect() -> None:
    for why in ("Cannot call methods on a stopped SparkContext.", "Job 3 cancelled because SparkContext was shut down"):
        java = f"An error occurred while calling o7.collect.\n: java.lang.IllegalStateException: {why}\n\tat x"
        message, mendable = explain(RuntimeError(java))
        assert message.startswith("The application was ended before the command was over")
        assert "\n" not in message
        assert not mendable


@pytest.mark.parametrize("error", [InputError("readings.csv: cannot be read"), RunError("rank 1 on host2 ended")])
@pytest.mark.parametrize("why", [None, "Master removed our application: KILLED"])
def test_what_a_cluster_did_stands_beside_what_came_of_it(
    error: Exception, why: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(**_: object) -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["hindcast", "doctor"])
    monkeypatch.setattr(cli, "import_lean", lambda: None)
    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(ended, "reason", lambda: why)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith(f"hindcast: {error}")
    assert ("Master removed our application: KILLED. Run it again" in said) == (why is not None)
    assert stop.value.code == (2 if isinstance(error, InputError) and why is None else 1)
