"""Checks of the arguments of estimators: whole numbers, arrays, priors."""

from __future__ import annotations

from typing import Any

import numpy as np

from hindcast.prep.errors import InputError


def is_whole(value: Any, least: int) -> bool:
    """Whether `value` is a whole number of at least `least`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def numbers(values: Any, name: str) -> np.ndarray:
    """The values as an array of float64. Raises InputError where they are no numbers."""
    try:
        return np.asarray(values, np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers, found {values!r} ({error})") from None


def number_or_array(value: float | np.ndarray, name: str = "prior") -> float | np.ndarray:
    """A prior as one number for all, or as an array. Files hold arrays as lists."""
    array = numbers(value, name)
    return array if array.ndim else float(array)


def prior_of(value: float | np.ndarray, shape: tuple[int, ...], name: str) -> float | np.ndarray:
    prior = number_or_array(value, name)
    if isinstance(prior, np.ndarray) and prior.shape != shape:
        raise InputError(f"{name}: found shape {prior.shape}, expected one number or {shape}")
    return prior
