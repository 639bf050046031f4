"""What a user may choose about an LSTM and its training. TensorFlow is not imported here: the command line reads this first."""

from __future__ import annotations

import logging
import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from prep.errors import InputError

LONGEST_DEFAULT_SEGMENT = 24


class LstmSettings(BaseModel):
    """Network and training; the defaults were chosen by validation loss on ETTh1.

    network            "segment": channels share weights, segments of steps are the LSTM's inputs (Lin et al. 2023);
                       "plain": an LSTM over single steps of all channels together
    units              width of the LSTM, and of the segment network's embeddings
    segment            steps in a segment; must divide context and horizon. None: the longest divisor of both up to 24
    channel_embedding  segment network: a part of the position embedding is learnt for each channel
    layers             plain network: LSTM layers on top of each other
    dropout            share of the LSTM's outputs that are dropped in training
    batch              sequences of a step, over ALL ranks together. A window of C channels is C sequences for the segment
                       network and one for the plain network; a step takes the nearest whole number of windows, at least one
    epochs             passes over the training windows, at most
    learning_rate      of Adam
    averaging          an epoch ends with a moving average of its weights, over about this share of its steps; 0: with the last
    patience           epochs without a better validation loss before training stops; the best epoch's weights are kept
    seed               of initial weights, dropout and the order of windows
    max_seconds        training ends at the first step after this time (validated and kept if best); None: no limit
    silence_seconds    a run in which a rank has taken no step for so long is ended with an error
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    network: Literal["segment", "plain"] = "segment"
    units: Annotated[int, Field(ge=1)] = 128
    segment: Annotated[int, Field(ge=1)] | None = None
    channel_embedding: bool = False
    layers: Annotated[int, Field(ge=1)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    batch: Annotated[int, Field(ge=1)] = 256
    epochs: Annotated[int, Field(ge=1)] = 8
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    averaging: Annotated[float, Field(ge=0, le=1)] = 0.5
    patience: Annotated[int, Field(ge=1)] = 3
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    silence_seconds: Annotated[float, Field(gt=0)] = 120.0

    def windows_a_step(self, channels: int) -> int:
        """Windows of a step, over all ranks together."""
        return max(1, round(self.batch / channels)) if self.network == "segment" else self.batch

    def for_windows(self, context: int, horizon: int) -> LstmSettings:
        """The same settings with the segment decided.

        Raises InputError where the segment that was asked for does not divide both; logs a warning where 24 does not.
        """
        if self.network == "plain":
            return self
        common = math.gcd(context, horizon)
        if self.segment is not None:
            if common % self.segment:
                raise InputError(
                    f"segment {self.segment}: must divide both the context ({context} steps) and the horizon ({horizon} steps). "
                    f"Choose one of {', '.join(map(str, _divisors(common)))}, or leave it out"
                )
            return self
        segment = max(d for d in _divisors(common) if d <= LONGEST_DEFAULT_SEGMENT)
        if segment != LONGEST_DEFAULT_SEGMENT:
            logging.getLogger(__name__).warning(
                "segments of %d steps: the longest up to %d that divide the context (%d) and the horizon (%d)",
                segment, LONGEST_DEFAULT_SEGMENT, context, horizon,
            )  # fmt: skip
        return self.model_copy(update={"segment": segment})


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
