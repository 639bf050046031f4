"""The learning rate of each step."""

from __future__ import annotations

import math

from hindcast.deep.settings import LstmSettings


def rate(settings: LstmSettings, step: int, steps: int, ranks: int) -> float:
    """The learning rate of step `step` (from 0) of the whole training, where an epoch has `steps` steps.

    Where each rank brings a batch of its own, the full rate is the settings' times the number of ranks, and the warm-up rises to
    it from the rate of one rank (Goyal et al. 2017); otherwise from 0.
    """
    times = ranks if settings.batch_of == "rank" else 1
    full, warm = settings.learning_rate * times, settings.warmup * steps
    if step < warm:
        begin = settings.learning_rate if times > 1 else 0.0
        return begin + (full - begin) * (step + 1) / warm
    match settings.schedule:
        case "constant":
            return full
        case "halving":
            return full * 0.5 ** (step // steps)
        case "cosine":
            rest = max(1.0, settings.epochs * steps - warm)
            return full * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / rest)))
