"""A fleet of sensors with known hidden regimes, and everything that real exports suffer from."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hindcast.prep.files.placing import placed_file

CHANNELS = ("temperature", "pressure", "vibration")
REGIMES = ("idle", "running", "overload")
FIRST = np.datetime64("2025-01-01T00:00:00")


@dataclass(frozen=True)
class Fleet:
    """What was drawn: per sensor, `values` (steps, channels) in sensor units and `regimes` (steps,), indices of REGIMES."""

    sensors: tuple[str, ...]
    values: np.ndarray
    regimes: np.ndarray

    def times(self) -> np.ndarray:
        """The hours of the fleet, datetime64[s]."""
        return FIRST + np.arange(self.values.shape[1]) * np.timedelta64(3600, "s")


def draw(sensors: int, steps: int, seed: int) -> Fleet:
    """Sensors whose hidden regime is a Markov chain, read once an hour.

    In a regime, each channel is autoregressive around a level; temperature follows the day, pressure drifts, and overload is
    hotter, louder and restless. Levels differ a little from sensor to sensor.
    """
    rng = np.random.default_rng(seed)
    transition = np.array([[0.965, 0.034, 0.001], [0.012, 0.976, 0.012], [0.002, 0.048, 0.95]])
    level = np.array([[22.0, 1.2, 0.3], [48.0, 4.0, 2.0], [71.0, 6.5, 6.0]])
    noise = np.array([[0.5, 0.03, 0.05], [0.9, 0.08, 0.18], [2.2, 0.25, 0.7]])
    carry = np.array([0.85, 0.7, 0.6])

    regimes = _chain(rng, transition, sensors, steps)
    hour = np.arange(steps)
    day = np.stack(
        [3.0 * np.sin(2 * np.pi * (hour - 9) / 24), 0.15 * np.sin(2 * np.pi * (hour - 3) / 24), np.zeros(steps)], axis=1
    )
    drift = np.zeros((sensors, steps, 3))
    drift[..., 1] = np.cumsum(rng.normal(0, 0.006, (sensors, steps)), axis=1)
    offset = rng.normal(0, [1.5, 0.15, 0.08], (sensors, 3))

    values = np.empty((sensors, steps, 3))
    for step in range(steps):
        regime = regimes[:, step]
        target = level[regime] + offset
        previous = values[:, step - 1] - day[step - 1] - drift[:, step - 1] if step else target
        undisturbed = target + carry * (previous - target) + rng.normal(0, 1, (sensors, 3)) * noise[regime]
        values[:, step] = undisturbed + day[step] + drift[:, step]
    return Fleet(tuple(f"sensor-{i:03d}" for i in range(sensors)), values, regimes)


def write_readings(fleet: Fleet, readings: Path, regimes: Path, seed: int) -> None:
    """The fleet as CSV, as an export would hold it: with gaps, duplicates, missing values, bad rows and rows out of order.

    `regimes` gets the truth beside it: time, sensor, regime.
    """
    rng = np.random.default_rng(seed + 1)
    times = [str(time).replace("T", " ") for time in fleet.times()]
    with ExitStack() as entered:
        staged = [entered.enter_context(placed_file(place)) for place in (readings, regimes)]
        out, known = (csv.writer(entered.enter_context(place.open("w", newline=""))) for place in staged)
        out.writerow(["time", "sensor", *CHANNELS])
        known.writerow(["time", "sensor", "regime"])
        for index, sensor in enumerate(fleet.sensors):
            known.writerows([times[step], sensor, REGIMES[regime]] for step, regime in enumerate(fleet.regimes[index]))
            out.writerows(_export(rng, sensor, times, fleet.values[index]))


def _chain(rng: np.random.Generator, transition: np.ndarray, sensors: int, steps: int) -> np.ndarray:
    regimes = np.empty((sensors, steps), np.int64)
    regimes[:, 0] = rng.integers(0, len(transition), sensors)
    cumulative = transition.cumsum(axis=1)
    for step in range(1, steps):
        regimes[:, step] = (rng.random((sensors, 1)) > cumulative[regimes[:, step - 1]]).sum(axis=1)
    return regimes


def _export(rng: np.random.Generator, sensor: str, times: list[str], values: np.ndarray) -> list[list[str]]:
    steps = len(times)
    gone = np.zeros(steps, bool)
    for _ in range(rng.poisson(steps / 1000)):  # long gaps split, short ones are filled
        start, length = rng.integers(0, steps), rng.choice([2, 40])
        gone[start : start + length] = True
    empty = rng.random(values.shape) < 0.002
    rows = [
        [times[step], sensor, *("" if empty[step, c] else f"{values[step, c]:.4f}" for c in range(values.shape[1]))]
        for step in np.flatnonzero(~gone)
    ]
    duplicates = rng.integers(0, len(rows), rng.poisson(steps / 400))
    bad = rng.integers(0, len(rows), rng.poisson(steps / 800))
    for index in duplicates:
        rows.append(list(rows[index]))
    for index in bad:
        rows[index][2] = "ERR"
    swapped = rng.integers(0, len(rows) - 1, steps // 200)
    for index in swapped:
        rows[index], rows[index + 1] = rows[index + 1], rows[index]
    return rows
