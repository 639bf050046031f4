"""What the card of an LSTM says that only LSTMs understand. TensorFlow is not imported here."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from hindcast.deep.inputs import Inputs
from hindcast.deep.settings import LstmSettings
from hindcast.forecasting.card import Part


class Partitioned(BaseModel):
    """Of a model a series, or a group of series. `fitted`: how many models there are; `without_model`: series or groups that have
    none."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    models: Literal["series", "group"]
    group_by: str | None
    least_windows: int
    fitted: int
    without_model: int


class LstmPart(Part):
    """settings        those that acted, the segment decided
    inputs          what the network is told of a window
    ranks           that trained together
    best_epoch      whose weights these are
    weights_sha256  of the weights, found equal on all ranks
    partitioned     of many models of one network; None where there is one
    """

    settings: LstmSettings
    inputs: Inputs
    ranks: int
    best_epoch: int
    weights_sha256: str
    partitioned: Partitioned | None

    @classmethod
    def of_version_1(cls, settings: dict[str, Any]) -> dict[str, Any]:
        many = {name: settings[name] for name in Partitioned.model_fields} if "fitted" in settings else None
        return {
            "settings": {name: value for name, value in settings.items() if name in LstmSettings.model_fields},
            **{name: settings[name] for name in ("inputs", "ranks", "best_epoch", "weights_sha256")},
            "partitioned": many,
        }
