"""What a user may choose about an LSTM and its training. TensorFlow is not imported here: the command line reads this first."""

from __future__ import annotations

import logging
import math
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hindcast.prep.errors import InputError

LONGEST_DEFAULT_SEGMENT, SHORT_SEGMENT = 48, 8
DEFAULT_LINE = 0.2
MEMBER_APART = 100_000


class LstmSettings(BaseModel):
    """Network and training; the defaults were chosen by validation loss on ETTh1.

    network            "segment": channels share weights, segments of steps are the LSTM's inputs (Lin et al. 2023);
                       "plain": an LSTM over single steps of all channels together, the whole horizon at once;
                       "encoder-decoder": one LSTM reads the context, another goes on from its state through the horizon
                       (Sutskever et al. 2014)
    units              width of the LSTM, and of the segment network's embeddings
    embedding          segment network: "dense": segments are embedded by a layer of their own before the LSTM reads them; "none"
    segment            steps in a segment; must divide context and horizon. None: the longest divisor of both up to 48
    channel_embedding  segment network: a part of the position embedding is learnt for each channel
    layers             LSTM layers on top of each other (plain and encoder-decoder)
    members            networks of the same kind, each of which learns for itself, by a seed of its own; what is forecast is what
                       they say together (Lakshminarayanan et al. 2017, arXiv:1612.01474)
    dropout            share of the LSTM's outputs that are dropped in training
    normalise          of each window and channel: "last": its last value is subtracted; "mean": mean and deviation of its context
                       are taken out; "none". What is forecast is put back
    mixing             whether training windows are mixed in pairs (deep/training/mixing.py): needs "last", and channels alone
                       as inputs. Right for what is nearly normal, wrong for what switches
    skip               "linear": the LSTM adds to a closed-form linear regression, which is not trained; "none". Needs "last"
    line               share of such a regression in what is forecast; the LSTM learns without it (a combination of forecasts:
                       Bates and Granger 1969, Operational Research Quarterly 20). Needs "last". None: a fifth, where there
                       is no skip and the last value is subtracted
    ridge              of that regression, for every training sequence
    covariates         whether covariates, those known in the future among them, and attributes are inputs, where there are any
    mask               whether the observed mask is an input. None: where something in the training data was filled
    series_embedding   how many numbers are learnt for each series; 0: series are not told apart
    head               "point", "gaussian", "student" (t), "quantiles": what is forecast of every step and channel
    loss               of the point head: "mse", "mae", or "huber", which is quadratic up to `delta` and linear beyond
    delta              in the dataset's scaling
    spectrum           share of the loss that is of the errors' waves along the horizon instead of its steps
                       (deep/training/spectrum.py), for "mae" and "huber"; a sum of squares is the same of both
    levels             of the quantiles: rising, between 0 and 1, 0.5 among them
    batch              sequences of a step. A window of C channels is C sequences for the segment network and one for the others;
                       a step takes the nearest whole number of windows, at least one
    batch_of           "run": a step's over ALL ranks together; "rank": each rank's, so more ranks take larger steps, and the
                       learning rate is multiplied by their number (Goyal et al. 2017, arXiv:1706.02677)
    epochs             passes over the training windows, at most
    learning_rate      of Adam
    warmup             epochs in which the rate rises from that of one rank's batch, or from 0, to its full height
    schedule           after that: "constant"; "cosine": down to 0 at the last epoch; "halving": half of it after every epoch
    weight_decay       of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101)
    clip_norm          gradients are scaled down to this Euclidean norm over all weights, where they are longer; None: never
    averaging          what is validated and kept is a moving average of the weights, over about this share of an epoch's steps,
                       while training goes on from the last ones; 0: the last ones are kept
    patience           epochs without a better validation loss before training stops; the best epoch's weights are kept
    precision          "float32"; "mixed": bfloat16, with weights in float32; "auto": mixed where a GPU has units for it
    checkpoint_steps   a checkpoint is taken after so many steps, and after every epoch
    seed               of initial weights, dropout and the order of windows
    max_seconds        training ends at the first step after this time (validated and kept if best); None: no limit
    silence_seconds    a run in which a rank has taken no step for so long is ended with an error
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    network: Literal["segment", "plain", "encoder-decoder"] = "segment"
    units: Annotated[int, Field(ge=1)] = 128
    embedding: Literal["dense", "none"] = "none"
    segment: Annotated[int, Field(ge=1)] | None = None
    channel_embedding: bool = False
    layers: Annotated[int, Field(ge=1)] = 1
    members: Annotated[int, Field(ge=1)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    normalise: Literal["last", "mean", "none"] = "last"
    mixing: bool = False
    skip: Literal["none", "linear"] = "none"
    line: Annotated[float | None, Field(ge=0, lt=1)] = None
    ridge: Annotated[float, Field(ge=0)] = 0.2
    covariates: bool = True
    mask: bool | None = None
    series_embedding: Annotated[int, Field(ge=0)] = 0
    head: Literal["point", "gaussian", "student", "quantiles"] = "point"
    loss: Literal["mse", "mae", "huber"] = "mse"
    delta: Annotated[float, Field(gt=0)] = 1.0
    spectrum: Annotated[float, Field(ge=0, le=1)] = 0.0
    levels: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.05, 0.25, 0.5, 0.75, 0.95)
    batch: Annotated[int, Field(ge=1)] = 256
    batch_of: Literal["run", "rank"] = "run"
    epochs: Annotated[int, Field(ge=1)] = 4
    learning_rate: Annotated[float, Field(gt=0)] = 4e-3
    warmup: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "halving"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    averaging: Annotated[float, Field(ge=0, le=1)] = 0.3
    patience: Annotated[int, Field(ge=1)] = 3
    precision: Literal["auto", "float32", "mixed"] = "auto"
    checkpoint_steps: Annotated[int, Field(ge=1)] = 500
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    silence_seconds: Annotated[float, Field(gt=0)] = 40.0

    @property
    def member_seeds(self) -> tuple[int, ...]:
        """The seed of each member. They are so far apart that no other seed lies between."""
        return tuple(self.seed + MEMBER_APART * member for member in range(self.members))

    @field_validator("levels")
    @classmethod
    def _rise(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if list(levels) != sorted(set(levels)) or 0.5 not in levels:
            raise ValueError("levels must rise, and 0.5 must be among them: it is what is forecast as one number")
        return levels

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.has_line and self.normalise != "last":
            raise ValueError(f'skip and line go from the last value: they need normalise = "last", found {self.normalise!r}')
        if self.spectrum and (self.head != "point" or self.loss == "mse"):
            raise ValueError('spectrum changes nothing but the losses "mae" and "huber" of the head "point": leave it out')
        if self.mixing and self.normalise != "last":
            raise ValueError(
                f'mixing turns windows about their last values: it needs normalise = "last", found {self.normalise!r}'
            )
        if self.mixing and self.series_embedding:
            raise ValueError("a mixture of two series' windows is of neither: leave mixing or series_embedding out")
        if self.skip == "linear" and self.line:
            raise ValueError('skip = "linear" and line both bring the regression in: leave one of them out')
        return self

    @property
    def has_line(self) -> bool:
        """Whether there is a closed-form regression in the network."""
        return self.skip == "linear" or self.line_share > 0

    @property
    def line_share(self) -> float:
        """How much of a forecast is the closed-form regression's."""
        if self.line is None:
            return DEFAULT_LINE if self.skip == "none" and self.normalise == "last" else 0.0
        return self.line

    def windows_a_step(self, channels: int, ranks: int = 1) -> int:
        """How many windows a step takes, over all ranks together."""
        of_batch = max(1, round(self.batch / channels)) if self.network == "segment" else self.batch
        return of_batch * (ranks if self.batch_of == "rank" else 1)

    def for_windows(self, context: int, horizon: int) -> LstmSettings:
        """The same settings with the segment decided.

        Raises InputError where the segment that was asked for does not divide both; logs a warning where no long one does.
        """
        if self.network != "segment":
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
        if segment < SHORT_SEGMENT:
            logging.getLogger(__name__).warning(
                "segments of %d steps: the longest up to %d that divide the context (%d) and the horizon (%d); "
                "many segments are slow",
                segment, LONGEST_DEFAULT_SEGMENT, context, horizon,
            )  # fmt: skip
        return self.model_copy(update={"segment": segment})


class PartitionSettings(BaseModel):
    """What is trained in Spark's partitions.

    models         "series": one model a series; "group": one for all series that have an attribute in common; "averaged": one in
                   all, whose weights are averaged over the partitions after each epoch, weighted by their windows
    group_by       the attribute that makes groups
    count          partitions of "averaged"; None: as many as Spark runs tasks at once
    least_windows  a series or group with fewer training windows gets no model
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    models: Literal["series", "group", "averaged"] = "series"
    group_by: str | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    least_windows: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _grouped(self) -> PartitionSettings:
        if (self.models == "group") != (self.group_by is not None):
            raise ValueError('models = "group" and group_by, the name of an attribute, belong together: give both, or neither')
        return self


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
