"""A fleet of sensors with known hidden regimes, and everything that real exports suffer from."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hindcast.prep.files.placing import placed_file

CHANNELS = ("temperature", "pressure", "vibration")
REGIMES = ("idle", "running", "overload")
FIRST = np.datetime64("2025-01-01T00:00:00")


@dataclass(frozen=True)
class Fleet:
    """What was drawn: per sensor, `values` (steps, channels) in sensor units and `regimes` (steps,), indices of REGIMES.

    `first`: how many hours after FIRST it begins.
    """

    sensors: tuple[str, ...]
    values: np.ndarray
    regimes: np.ndarray
    first: int = 0

    def times(self) -> np.ndarray:
        """The hours of the fleet, datetime64[s]."""
        return FIRST + (self.first + np.arange(self.values.shape[1])) * np.timedelta64(3600, "s")


@dataclass(frozen=True)
class _Standing:
    """How a fleet stands at an hour: `regimes` (sensors,); `level`, `drift` and `offset` (sensors, channels)."""

    regimes: np.ndarray
    level: np.ndarray
    drift: np.ndarray
    offset: np.ndarray


def draw(sensors: int, steps: int, seed: int, skip: int = 0) -> Fleet:
    """Sensors whose hidden regime is a Markov chain, read once an hour.

    In a regime, each channel is autoregressive around a level; temperature follows the day, pressure drifts, and overload is
    hotter, louder and restless. Levels differ a little from sensor to sensor. With `skip`, they go on where a fleet of so many
    steps stood at its end.
    """
    fleet, standing = _walk(np.random.default_rng(seed), sensors, skip or steps, 0, None)
    return _walk(np.random.default_rng((seed, skip)), sensors, steps, skip, standing)[0] if skip else fleet


def _walk(rng: np.random.Generator, sensors: int, steps: int, first: int, before: _Standing | None) -> tuple[Fleet, _Standing]:
    transition = np.array([[0.965, 0.034, 0.001], [0.012, 0.976, 0.012], [0.002, 0.048, 0.95]])
    level = np.array([[22.0, 1.2, 0.3], [48.0, 4.0, 2.0], [71.0, 6.5, 6.0]])
    noise = np.array([[0.5, 0.03, 0.05], [0.9, 0.08, 0.18], [2.2, 0.25, 0.7]])
    carry = np.array([0.85, 0.7, 0.6])

    regimes = _chain(rng, transition, sensors, steps, before)
    hour = first + np.arange(steps)
    day = np.stack(
        [3.0 * np.sin(2 * np.pi * (hour - 9) / 24), 0.15 * np.sin(2 * np.pi * (hour - 3) / 24), np.zeros(steps)], axis=1
    )
    drift = np.zeros((sensors, steps, 3))
    drift[..., 1] = np.cumsum(rng.normal(0, 0.006, (sensors, steps)), axis=1)
    if before is not None:
        drift += before.drift[:, None]
    offset = rng.normal(0, [1.5, 0.15, 0.08], (sensors, 3)) if before is None else before.offset

    values = np.empty((sensors, steps, 3))
    for step in range(steps):
        regime = regimes[:, step]
        target = level[regime] + offset
        if step:
            previous = values[:, step - 1] - day[step - 1] - drift[:, step - 1]
        else:
            previous = target if before is None else before.level
        undisturbed = target + carry * (previous - target) + rng.normal(0, 1, (sensors, 3)) * noise[regime]
        values[:, step] = undisturbed + day[step] + drift[:, step]
    standing = _Standing(regimes[:, -1], values[:, -1] - day[-1] - drift[:, -1], drift[:, -1], offset)
    return Fleet(tuple(f"sensor-{i:03d}" for i in range(sensors)), values, regimes, first), standing


def write_readings(fleet: Fleet, readings: Path, regimes: Path | None, seed: int) -> None:
    """The fleet as CSV, as an export would hold it: with gaps, duplicates, missing values, bad rows and rows out of order.

    `regimes` gets the truth beside it: time, sensor, regime.
    """
    rng = np.random.default_rng(seed + 1)
    times = [str(time).replace("T", " ") for time in fleet.times()]
    with placed_file(readings) as staged, staged.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["time", "sensor", *CHANNELS])
        for index, sensor in enumerate(fleet.sensors):
            out.writerows(_export(rng, sensor, times, fleet.values[index]))
        if regimes is not None:
            _write_regimes(fleet, times, regimes)


def _write_regimes(fleet: Fleet, times: list[str], regimes: Path) -> None:
    with placed_file(regimes) as staged, staged.open("w", newline="") as file:
        known = csv.writer(file)
        known.writerow(["time", "sensor", "regime"])
        for index, sensor in enumerate(fleet.sensors):
            known.writerows([times[step], sensor, REGIMES[regime]] for step, regime in enumerate(fleet.regimes[index]))


def _chain(rng: np.random.Generator, transition: np.ndarray, sensors: int, steps: int, before: _Standing | None) -> np.ndarray:
    regimes = np.empty((sensors, steps), np.int64)
    cumulative = transition.cumsum(axis=1)
    previous = None if before is None else before.regimes
    for step in range(steps):
        if previous is None:
            regimes[:, step] = rng.integers(0, len(transition), sensors)
        else:
            regimes[:, step] = (rng.random((sensors, 1)) > cumulative[previous]).sum(axis=1)
        previous = regimes[:, step]
    return regimes


def _export(rng: np.random.Generator, sensor: str, times: list[str], values: np.ndarray) -> list[list[str]]:
    steps = len(times)
    removed = np.zeros(steps, bool)
    for _ in range(rng.poisson(steps / 1000)):  # long gaps split, short ones are filled
        start, length = rng.integers(0, steps), rng.choice([2, 40])
        removed[start : start + length] = True
    empty = rng.random(values.shape) < 0.002
    rows = [
        [times[step], sensor, *("" if empty[step, c] else f"{values[step, c]:.4f}" for c in range(values.shape[1]))]
        for step in np.flatnonzero(~removed)
    ]
    if len(rows) < 2:  # of a few steps, or none where a gap took them all
        return rows
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
