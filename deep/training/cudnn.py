"""Whether LSTMs train in cuDNN's kernel, which takes a sequence in one go, or step by step in TensorFlow's loop."""

from __future__ import annotations

import tensorflow as tf
from keras import layers

from hindcast.deep.inputs import Inputs
from hindcast.deep.settings import LONGEST_DEFAULT_SEGMENT, LstmSettings
from hindcast.deep.training.collective import OneProcess
from hindcast.deep.training.precision import NO_GPU
from hindcast.deep.training.training import new_learner
from hindcast.prep.errors import InputError

KERNEL = "CudnnRNNV3"
# What Keras takes the kernel for is an LSTM layer with its own defaults of these.
OPTIONS = ("activation", "recurrent_activation", "recurrent_dropout", "unroll", "use_bias")


def why_no_cudnn(settings: LstmSettings) -> str | None:
    """The reason why a training of these settings does not run in cuDNN's kernel here; None where every LSTM layer does.

    The kernel is looked for in the very step that training compiles, here for windows of zeros, and the step is taken once.
    Raises InputError where TensorFlow cannot take it.
    """
    if not tf.config.list_logical_devices("GPU"):
        return NO_GPU
    steps = settings.segment or LONGEST_DEFAULT_SEGMENT
    inputs = Inputs(context=steps, horizon=steps, lead=0, channels=1)
    learner = new_learner(settings.for_windows(steps, steps), inputs, OneProcess(), steps=1)
    rows = settings.members
    tensors = {name: tf.zeros((rows, *shape), dtype) for name, (shape, dtype) in inputs.shapes().items()}
    batch = tensors, tf.zeros((rows, steps, 1)), tf.ones((rows, steps, 1), tf.uint8), tf.constant(0.0)
    compiled = learner.train_step.get_concrete_function(*batch)
    in_kernel = sum(operation.type == KERNEL for operation in compiled.graph.get_operations())
    lstms = [layer for layer in learner.network._flatten_layers() if isinstance(layer, layers.LSTM)]
    if in_kernel < len(lstms):
        return f"Keras takes it for {in_kernel} of {len(lstms)} LSTM layers ({unlike_defaults(lstms)})"
    try:
        learner.train_step(*batch)
    except tf.errors.OpError as error:
        raise InputError(f"TensorFlow fails in {KERNEL}: {error.message.strip().splitlines()[0]}") from error
    return None


def unlike_defaults(lstms: list[layers.LSTM]) -> str:
    default, configs = layers.LSTM(1).get_config(), [layer.get_config() for layer in lstms]
    unlike = {f"{name} {config[name]}" for config in configs for name in OPTIONS if config[name] != default[name]}
    return ", ".join(sorted(unlike)) or "for no reason that is known here"
