"""What went wrong, in a line."""

from __future__ import annotations

import re

from hindcast.launch.spark import ended


def explain(error: Exception) -> tuple[str, bool]:
    """What went wrong in a line, and whether the user can mend it. Of an error in a Spark task, what was raised, and where."""
    why = ended.reason()
    if why or re.search("stopped SparkContext|SparkContext was shut down", str(error)):
        return ending_message(why or "its own lines above say why"), False
    lost_task = re.search(r"^.*Lost task \S+ in stage \S+ \(TID \d+\) \((\S+) executor \S+\): (.+)$", str(error), re.MULTILINE)
    where = f" (in a Spark task{f' on {lost_task[1]}' if lost_task else ''}; --debug shows the traceback)"
    raised = re.findall(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception)): (.+)$", str(error), re.MULTILINE)
    in_task = [exception for exception in raised if exception[0] not in ("Py4JJavaError", "PythonException", "SparkException")]
    if "Traceback" in str(error) and in_task:
        name, text = in_task[0]
        return (text, True) if name == "InputError" else (f"{name}: {text}{where}{_mend(text)}", False)
    if lost_task:
        return f"{lost_task[2]}{where}{_mend(lost_task[2])}", False
    lines = (str(error).strip() or type(error).__name__).splitlines()
    # What Java raised stands below the call that it was raised in.
    first = next((line.removeprefix(": ") for line in lines if not line.startswith("An error occurred while calling")), lines[0])
    return f"{type(error).__name__}: {first} (a defect, or a failing machine: --debug shows the traceback)", False


def ending_message(why: str) -> str:
    """Of an application that was ended, by Spark or for want of executors."""
    more = " (as many executors failed to start as its spark.deploy.maxExecutorRetries says, while none ran)"
    reason = why + (more if why == ended.FAILED else "")
    return f"The application was ended before the command was over: {reason}. Run it again, a fit with --resume"


def _mend(text: str) -> str:
    if "No space left on device" not in text:
        return ""
    return ". Free some space there: Spark keeps its work in spark.local.dir, or in SPARK_LOCAL_DIRS of its workers"
