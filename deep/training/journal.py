"""The journal of a training, epoch by epoch: in TensorBoard, and in MLflow where the environment names a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hindcast.prep.errors import InputError

TRACKING = "MLFLOW_TRACKING_URI"
EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
# Of the server, so that a training does not hang on it.
MLFLOW_SECONDS = "10"

Write = Callable[[Mapping[str, float]], None]


@contextmanager
def journal(name: str, about: Mapping[str, Any], tensorboard: Path | None = None) -> Iterator[Write]:
    """Gives the function that writes the record of an epoch: numbers by their names, `epoch` among them.

    tensorboard  a folder for event files
    about        what is trained: the parameters of an MLflow run, which is `name`d and made where MLFLOW_TRACKING_URI is set

    Raises InputError where the folder cannot be written, MLflow is not installed, or its server does not answer when it begins. A
    server that is lost later does not end a training.
    """
    with ExitStack() as stack:
        writers: list[Write] = []
        if tensorboard is not None:
            writers.append(stack.enter_context(_tensorboard(tensorboard)))
        if os.environ.get(TRACKING):
            writers.append(stack.enter_context(_mlflow(name, about)))
        yield lambda record: _each(writers, record)


def _each(writers: list[Write], record: Mapping[str, float]) -> None:
    for write in writers:
        write(record)


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Write]:
    # Imported here: seconds and hundreds of megabytes, for who asked for it.
    import tensorflow as tf

    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = tf.summary.create_file_writer(str(folder))
        writer.flush()
    except (OSError, tf.errors.OpError) as error:
        raise InputError(f"{folder}: no place for TensorBoard's files: {error}") from None

    def write(record: Mapping[str, float]) -> None:
        with writer.as_default(step=int(record["epoch"])):
            for name, number in _numbers(record):
                tf.summary.scalar(name, number)
        writer.flush()

    try:
        yield write
    finally:
        writer.close()


@contextmanager
def _mlflow(name: str, about: Mapping[str, Any]) -> Iterator[Write]:
    address = os.environ[TRACKING]
    try:
        import mlflow
    except ImportError:
        raise InputError(
            f"{TRACKING} is set, and MLflow is not installed: pip install 'hindcast[mlflow]', or unset it to train without"
        ) from None
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", MLFLOW_SECONDS)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    client = mlflow.MlflowClient()
    try:
        experiment = os.environ.get(EXPERIMENT, "hindcast")
        existing = client.get_experiment_by_name(experiment)
        run = client.create_run(existing.experiment_id if existing else client.create_experiment(experiment), run_name=name)
        for parameter, value in about.items():
            client.log_param(run.info.run_id, parameter, value)
    except mlflow.MlflowException as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{TRACKING}: {address} does not take a run ({reason}): start it, or unset the variable") from None

    def write(record: Mapping[str, float]) -> None:
        for metric, number in _numbers(record):
            _best_effort(client.log_metric, run.info.run_id, metric, number, step=int(record["epoch"]))

    status = "FAILED"
    try:
        yield write
        status = "FINISHED"
    finally:
        _best_effort(client.set_terminated, run.info.run_id, status)


def _best_effort(call: Callable[..., Any], *arguments: Any, **options: Any) -> None:
    import mlflow

    try:
        call(*arguments, **options)
    except mlflow.MlflowException as error:
        print(f"hindcast: MLflow did not take it: {str(error).splitlines()[0]}")


def _numbers(record: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(name, number) for name, number in record.items() if name != "epoch"]
