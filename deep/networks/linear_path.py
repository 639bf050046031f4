"""A linear path from the context to the horizon, beside an LSTM."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import layers, ops, saving

from hindcast.forecasting.baselines.linear import least_squares
from hindcast.prep.dataset.windows import Windows


@saving.register_keras_serializable(package="hindcast")
class LinearPath(layers.Layer):
    """(batch, context, channels), the last value subtracted -> (batch, horizon, channels): a linear function that channels share.

    It is not trained: `closed_form` gives its weights (context + 1, horizon), the last row the intercept. An LSTM beside it
    learns what is not linear; where nothing is, the forecast stays that of the line.
    """

    def __init__(self, horizon: int, **options: Any) -> None:
        super().__init__(**{"dtype": "float32", "trainable": False, **options})
        self.horizon = horizon

    def build(self, shape: tuple[int | None, int, int]) -> None:
        self.kernel = self.add_weight(shape=(shape[1] + 1, self.horizon), initializer="zeros", trainable=False, name="kernel")

    def call(self, context: Any) -> Any:
        past = ops.transpose(context, (0, 2, 1))
        return ops.transpose(ops.matmul(past, self.kernel[:-1]) + self.kernel[-1], (0, 2, 1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "horizon": self.horizon}


def closed_form(windows: Windows, ridge: float) -> np.ndarray:
    """(context + 1, horizon) float32: weights of the linear baseline, with a ridge; 0 for a step that no window measured."""
    return least_squares(windows.rows(), windows.layout, ridge).weights
