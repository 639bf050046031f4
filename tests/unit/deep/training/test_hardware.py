"""What training makes of the hardware that it finds, and the doctor says of it; made-up devices stand in for GPUs."""

from __future__ import annotations

from typing import Any

import keras
import pytest
import tensorflow as tf

from hindcast.deep.networks import plain_lstm
from hindcast.deep.networks.parts import lstm
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training import cudnn
from hindcast.deep.training.cudnn import why_no_cudnn
from hindcast.deep.training.learner import Learner
from hindcast.deep.training.precision import precision, why_float32
from hindcast.deep.training.training import new_learner
from hindcast.prep.errors import InputError


class Gpu:
    """As TensorFlow lists it, with what it tells of it."""

    def __init__(self, name: str = "/physical_device:GPU:0", **details: Any) -> None:
        self.name, self.details = name, details


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[Gpu]:
    """The GPUs that TensorFlow lists: none, until some are added."""
    listed: list[Gpu] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: listed)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: listed)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: gpu.details)
    return listed


AMPERE, TURING = {"device_name": "A", "compute_capability": (8, 0)}, {"device_name": "T", "compute_capability": (7, 5)}


@pytest.mark.parametrize(
    ("asked", "details", "reason"),
    [
        ("auto", [], "TensorFlow sees no GPU"),
        ("auto", [AMPERE], None),
        ("auto", [AMPERE, TURING], "T has compute capability 7.5, and 8.0 is needed"),
        ("auto", [{}], "/physical_device:GPU:0 has an unknown compute capability, and 8.0 is needed"),
        ("float32", [AMPERE], "the settings ask for it"),
        ("mixed", [], None),
    ],
)
def test_layers_compute_in_bfloat16_unless_there_is_a_reason(
    gpus: list[Gpu], asked: Any, details: list[dict[str, Any]], reason: str | None
) -> None:
    gpus += [Gpu(**of_gpu) for of_gpu in details]
    assert why_float32(asked) == reason
    with precision(asked):
        assert keras.config.dtype_policy().compute_dtype == ("float32" if reason else "bfloat16")
    assert keras.config.dtype_policy().compute_dtype == "float32"


def test_without_a_gpu_lstms_run_in_a_loop(gpus: list[Gpu]) -> None:
    assert why_no_cudnn(LstmSettings()) == "TensorFlow sees no GPU"


NETWORKS: list[dict[str, Any]] = [
    {}, {"embedding": "dense", "segment": 7}, {"members": 2}, {"network": "plain", "layers": 2}, {"network": "encoder-decoder"},
]  # fmt: skip


@pytest.mark.skipif(tf.test.is_built_with_cuda(), reason="made-up GPUs are for a TensorFlow that cannot have real ones")
@pytest.mark.parametrize("options", NETWORKS, ids=str)
def test_every_network_takes_the_kernel_where_there_is_a_gpu(
    gpus: list[Gpu], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus.append(Gpu(**AMPERE))
    settings = LstmSettings(units=8, **options)
    # A step is taken, and this TensorFlow has the kernel for no device.
    with pytest.raises(InputError, match=r"^TensorFlow fails in CudnnRNNV3: No OpKernel was registered [^\n]*$"):
        why_no_cudnn(settings)
    monkeypatch.setattr(cudnn, "new_learner", lambda *arguments, **given: Compiling(new_learner(*arguments, **given)))
    assert why_no_cudnn(settings) is None


class Compiling:
    """A learner whose steps are compiled and not taken."""

    def __init__(self, learner: Learner) -> None:
        self.network, self.train_step = learner.network, self
        self.get_concrete_function = learner.train_step.get_concrete_function

    def __call__(self, *batch: Any) -> None:
        pass


def test_a_layer_that_keras_loops_over_is_told_with_its_options(gpus: list[Gpu], monkeypatch: pytest.MonkeyPatch) -> None:
    gpus.append(Gpu(**AMPERE))
    unlike = iter([{"recurrent_dropout": 0.2, "activation": "relu"}, {}])
    monkeypatch.setattr(plain_lstm, "lstm", lambda *arguments, **given: lstm(*arguments, **given, **next(unlike)))
    reason = why_no_cudnn(LstmSettings(network="plain", layers=2, units=8))
    assert reason == "Keras takes it for 1 of 2 LSTM layers (activation relu, recurrent_dropout 0.2)"
