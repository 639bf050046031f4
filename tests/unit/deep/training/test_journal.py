from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from hindcast.deep.training.journal import journal
from hindcast.prep.errors import InputError

RECORDS = [{"epoch": 1.0, "loss": 0.5, "validation_loss": 0.6}, {"epoch": 2.0, "loss": 0.25, "validation_loss": 0.5}]


def test_tensorboard_reads_what_each_epoch_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with journal("m", {}, tmp_path / "logs") as write:
        for record in RECORDS:
            write(record)
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert sorted(events.Tags()["tensors"]) == ["loss", "validation_loss"]
    assert [(event.step, float(make_ndarray(event.tensor_proto))) for event in events.Tensors("loss")] == [(1, 0.5), (2, 0.25)]


def test_mlflow_has_a_run_with_settings_and_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    with journal("first", {"units": 8}) as write:
        for record in RECORDS:
            write(record)
    with pytest.raises(ArithmeticError), journal("second", {}):
        raise ArithmeticError
    client = mlflow.MlflowClient()
    second, first = client.search_runs([client.get_experiment_by_name("hindcast").experiment_id], order_by=["start_time DESC"])
    assert (first.info.run_name, first.info.status, second.info.status) == ("first", "FINISHED", "FAILED")
    assert (first.data.params, first.data.metrics) == ({"units": "8"}, {"loss": 0.25, "validation_loss": 0.5})
    assert [metric.step for metric in client.get_metric_history(first.info.run_id, "loss")] == [1, 2]


def test_a_server_that_is_not_there_is_said_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"MLFLOW_TRACKING_URI: http://127\.0\.0\.1:9 does not take a run"), journal("m", {}):
        pass


def test_mlflow_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "mlflow":
            raise ImportError(name)
        return imported(name, *rest)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"MLflow is not installed: pip install 'hindcast\[mlflow\]'"), journal("m", {}):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file/logs: no place for TensorBoard's files"),
        journal("m", {}, tmp_path / "file" / "logs"),
    ):
        pass
