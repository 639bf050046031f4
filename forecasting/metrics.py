"""Errors of forecasts as sums that add, so that any number of windows, batches and machines give the same scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Errors:
    """Sums over windows, each of shape (horizon, channels): measured targets, squared errors, absolute errors."""

    count: np.ndarray
    squared: np.ndarray
    absolute: np.ndarray

    def __add__(self, other: Errors) -> Errors:
        return Errors(self.count + other.count, self.squared + other.squared, self.absolute + other.absolute)

    @property
    def mse(self) -> float:
        """Mean squared error over every measured target."""
        return _ratio(self.squared.sum(), self.count.sum())

    @property
    def mae(self) -> float:
        """Mean absolute error over every measured target."""
        return _ratio(self.absolute.sum(), self.count.sum())

    def mse_by_step(self) -> np.ndarray:
        """(horizon,): the mean squared error one step ahead, two steps ahead …"""
        return self.squared.sum(axis=1) / np.maximum(self.count.sum(axis=1), 1)

    def mae_by_channel(self) -> np.ndarray:
        """(channels,)."""
        return self.absolute.sum(axis=0) / np.maximum(self.count.sum(axis=0), 1)

    def mase(self, naive: np.ndarray) -> float:
        """Mean absolute scaled error (Hyndman and Koehler 2006): each channel's MAE over `naive`, its seasonal-naive MAE on the
        training split, shape (channels,); the mean over channels where that is not 0."""
        usable = naive > 0
        return float(np.mean(self.mae_by_channel()[usable] / naive[usable])) if usable.any() else float("nan")


def errors(mean: np.ndarray, target: np.ndarray, observed: np.ndarray) -> Errors:
    """Errors of a forecast's mean (windows, horizon, channels) against `target`, of that shape, where it was `observed`."""
    measured = observed.astype(bool)
    difference = np.where(measured, mean.astype(np.float64) - target, 0.0)
    return Errors(measured.sum(axis=0), (difference**2).sum(axis=0), np.abs(difference).sum(axis=0))


def _ratio(total: float, count: float) -> float:
    return float(total / count) if count else float("nan")
