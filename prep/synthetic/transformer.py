"""Readings of an electricity transformer that there is not: hourly, with the columns of ETTh1."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from hindcast.prep.files.placing import placed_file

TIME = "date"
# Useful and useless load at high, middle and low voltage, and the temperature of the oil.
CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
FIRST = np.datetime64("2016-07-01T00:00:00")
HOURS = 17_420
# What is drawn, of which the rest follows: MUFL, MULL, LUFL, LULL, OT.
LEVEL = np.array([5.0, 1.2, 3.0, 0.85, 14.0])
DAY = np.array([3.2, 0.5, 0.5, 0.12, 2.0])
NOISE = np.array([1.4, 0.35, 0.25, 0.09, 0.6])
CARRY = np.array([0.75, 0.8, 0.9, 0.9, 0.95])
WANDERING = np.array([0.04, 0.01, 0.01, 0.002, 0.05])
RETURN = 0.999  # a drift comes back to nought within months
WEEKEND = 0.75  # the share of the daily swing that is left
YEAR_HOURS, HOTTEST_HOUR = 8766, 900


def draw(steps: int, seed: int, skip: int = 0) -> np.ndarray:
    """(steps, channels) float64 from the hour `skip` on; of one seed the same hours, however many others are drawn.

    Loads follow the day, the week and a slow drift, with noise that lasts for hours; what comes at high voltage is what leaves
    at the two lower ones. The oil follows the year, the day, and, hours later, the load.
    """
    hours = skip + steps
    draws = np.random.default_rng(seed).normal(size=(hours, 2, len(LEVEL)))
    hour = np.arange(hours)
    weekday = (hour // 24 + 4) % 7  # the first is a Friday
    swing = np.where(weekday < 5, 1.0, WEEKEND) * (
        np.sin(2 * np.pi * (hour - 8) / 24) + 0.4 * np.sin(4 * np.pi * (hour - 5) / 24)
    )
    noise, drift, warmth = np.zeros(len(LEVEL)), np.zeros(len(LEVEL)), 0.0
    values = np.empty((hours, len(CHANNELS)))
    for step in range(hours):
        noise = CARRY * noise + NOISE * np.sqrt(1 - CARRY**2) * draws[step, 0]
        drift = RETURN * drift + WANDERING * draws[step, 1]
        middle, middle_lost, low, low_lost, oil = LEVEL + DAY * swing[step] + drift + noise
        warmth += 0.15 * (middle - LEVEL[0] - warmth)
        oil += 0.6 * warmth + 9.0 * np.cos(2 * np.pi * (step - HOTTEST_HOUR) / YEAR_HOURS)
        values[step] = middle + low, middle_lost + low_lost, middle, middle_lost, low, low_lost, oil
    return values[skip:]


def write_readings(values: np.ndarray, skip: int, readings: Path) -> None:
    """The hours from `skip` on as CSV."""
    times = FIRST + np.arange(skip, skip + len(values)) * np.timedelta64(3600, "s")
    with placed_file(readings) as staged, staged.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow([TIME, *CHANNELS])
        for time, row in zip(times, values, strict=True):
            out.writerow([str(time).replace("T", " "), *(f"{value:.3f}" for value in row)])
