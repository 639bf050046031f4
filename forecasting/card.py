"""What a saved model says of itself: enough to know whether a dataset is one it can forecast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from forecasting.inputs import must_be_numbers
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.placing import holds
from prep.preparation import Preparation
from prep.scaling import Scaling

CARD = "model.json"
must_be_model = holds(CARD, "a Hindcast model")


class Card(BaseModel):
    """`model.json` of every model folder.

    `history` holds a dict for each iteration or epoch; `settings` what the model was fitted with; `dataset` the digest of the
    dataset it was fitted on; `lead` the steps between context and horizon that are skipped; `preparation` how the readings of
    that dataset were put on its grid, which cards of earlier versions do not say.
    """

    model_config = ConfigDict(frozen=True)
    format: Literal["hindcast-model"] = "hindcast-model"
    version: Literal[1] = 1
    kind: Literal["hmm", "lstm"]
    channels: tuple[str, ...]
    step_micros: int
    context: int
    horizon: int
    scaling: Scaling
    dataset: str
    parameters: int
    fit_seconds: float
    fit_cpu_seconds: float
    settings: dict[str, Any]
    history: tuple[dict[str, float], ...]
    versions: dict[str, str]
    lead: int = 0
    preparation: Preparation | None = None

    @property
    def levels(self) -> tuple[float, ...]:
        """Of the quantiles that the model gives; none where it gives something else."""
        return tuple(self.settings["levels"]) if self.settings.get("head") == "quantiles" else ()

    def write(self, folder: Path) -> None:
        (folder / CARD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def check(self, dataset: SequenceDataset, folder: Path) -> None:
        """Raises InputError where the dataset's channels, step, context, horizon, lead or scaling are not those of the model."""
        layout = dataset.layout
        pairs = {
            "channels": (self.channels, dataset.channels),
            "step (microseconds)": (self.step_micros, dataset.step_micros),
            "context": (self.context, layout.context),
            "horizon": (self.horizon, layout.horizon),
            "lead": (self.lead, layout.lead),
            "scaling": (self.scaling.overall, dataset.scaling.overall),
            "scaling of each series": (self.scaling.each_series, dataset.scaling.each_series),
        }
        for what, (ours, theirs) in pairs.items():
            if ours != theirs:
                raise InputError(
                    f"{folder}: the model's {what}: {_plain(ours)}; those of {dataset.location}: {_plain(theirs)}. "
                    "Forecast a dataset prepared with the same channels, windows and scaling, or fit the model on this one"
                )
        must_be_numbers(dataset)  # a channel of the same name may be a category


def read_card(folder: Path) -> Card:
    """The card of a saved model; InputError where there is none, or it is not ours."""
    file = folder / CARD
    if not folder.exists():
        raise InputError(f"{folder}: no such model. `hindcast fit hmm|lstm DATASET --out {folder}` makes one")
    if not file.is_file():
        raise InputError(f"{folder}: not a Hindcast model, or one whose writing was cut short: it has no {CARD}")
    try:
        return Card.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"field {'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise InputError(f"{file}: not the description of a Hindcast model: {reason}. Fit the model again") from None


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
