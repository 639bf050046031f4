"""The card of a saved model: what the model is, and which datasets it can forecast."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hindcast.forecasting.card_version_1 import of_version_1
from hindcast.forecasting.inputs import must_be_numbers
from hindcast.prep.dataset.preparation import Preparation
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import holds
from hindcast.prep.scaling.affine import Scaling

CARD = "model.json"
VERSION: Literal[2] = 2
EARLIER = "settings of version 1"
must_be_model = holds(CARD, "a Hindcast model")


class Part(BaseModel):
    """The part of a card that belongs to its kind. Each kind has a class of its own, with typed fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @classmethod
    def of_version_1(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The fields of this part, from the `settings` of a card of version 1. Raises KeyError for a missing one."""
        raise ValueError("this kind of model has no cards of version 1")

    @model_validator(mode="before")
    @classmethod
    def _earlier(cls, stored: Any) -> Any:
        if isinstance(stored, dict) and stored.keys() == {EARLIER} and isinstance(stored[EARLIER], dict):
            try:
                return cls.of_version_1(stored[EARLIER])
            except KeyError as error:
                raise ValueError(f"settings: {error} is missing") from None
        return stored


class Sequences(BaseModel):
    """The sequences that a model was fitted on, as far as its forecasts depend on them.

    step_micros  of the grid, in microseconds
    context, horizon, lead      in steps; the lead is skipped between the two
    digest       of the dataset
    covariates   whether the model looks at covariates and attributes, or at the channels alone
    preparation  how the readings were put on their grid; None in cards of versions before 0.2
    """

    model_config = ConfigDict(frozen=True)
    channels: tuple[str, ...]
    step_micros: int
    context: int
    horizon: int
    lead: int
    scaling: Scaling
    digest: str
    covariates: bool
    preparation: Preparation | None

    @classmethod
    def of(cls, dataset: SequenceDataset, *, covariates: bool = False) -> Self:
        layout = dataset.layout
        return cls(
            channels=dataset.channels, step_micros=dataset.step_micros, context=layout.context, horizon=layout.horizon,
            lead=layout.lead, scaling=dataset.scaling, digest=dataset.digest, covariates=covariates,
            preparation=dataset.preparation,
        )  # fmt: skip

    def check(self, dataset: SequenceDataset, folder: Path | str) -> None:
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


class Gives(BaseModel):
    """The fields that the forecasts of a model have beside the mean.

    deviation   whether they have the standard deviation of the predictive distribution
    levels      of their quantiles, rising; () where they have none
    """

    model_config = ConfigDict(frozen=True)
    deviation: bool
    levels: tuple[float, ...] = ()


AnyPart = TypeVar("AnyPart")


class Card(BaseModel, Generic[AnyPart]):
    """`model.json` of every model folder.

    kind        the name of the kind of models: whose `part` this is
    data        the sequences that it was fitted on; None where these were arrays, whose grid and scaling are unknown
    gives       None: it forecasts nothing, such as a model of categories
    parameters  how many numbers were estimated, of `bytes` in all
    seed        that the fit drew with
    history     a dict for each iteration or epoch
    notes       in sentences, what a reader must know to judge the model
    """

    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")
    format: Literal["hindcast-model"] = "hindcast-model"
    version: Literal[2] = VERSION
    kind: str
    data: Sequences | None
    gives: Gives | None
    parameters: int = Field(ge=0)
    bytes: int = Field(ge=0)
    fit_seconds: float
    fit_cpu_seconds: float
    seed: int | None
    history: tuple[dict[str, float], ...]
    notes: tuple[str, ...]
    versions: dict[str, str]
    part: AnyPart

    def write(self, folder: Path) -> None:
        (folder / CARD).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def sequences(self, folder: Path | str) -> Sequences:
        """The sequences that the model was fitted on. Raises InputError, naming the folder, where they are unknown."""
        if self.data is None:
            raise InputError(
                f"{folder}: was fitted on arrays, and knows no grid, windows and scaling to forecast by: fit it on a dataset"
            )
        return self.data


def must_forecast(card: Card[Any], folder: Path | str) -> Sequences:
    """The sequences that the model was fitted on.

    Raises InputError, naming the folder, where the model forecasts no numbers, or was not fitted on a dataset.
    """
    if card.gives is None:
        raise InputError(
            f"{folder}: forecasts no numbers, as a model of categories, or of counts whose sum is not known: ask it for states"
        )
    return card.sequences(folder)


Typed = TypeVar("Typed", bound=Part)


def read_card(folder: Path) -> Card[dict[str, Any]]:
    """The card of a saved model, with its kind's part as it was stored: see `typed`.

    Raises InputError where there is none, it is not ours, or a newer version of Hindcast wrote it.
    """
    file = folder / CARD
    if not folder.exists():
        raise InputError(f"{folder}: no such model. `hindcast fit KIND DATASET --out {folder}` makes one")
    if not file.is_file():
        raise InputError(f"{folder}: not a Hindcast model, or one whose writing was cut short: it has no {CARD}")
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{file}: not the description of a Hindcast model: {error}. Fit the model again") from None
    version = stored.get("version") if isinstance(stored, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise InputError(
            f"{file}: was written by a newer Hindcast: it is of version {version}, and this one reads up to version {VERSION}. "
            "Update Hindcast, or fit the model again"
        )
    if version == 1:
        try:
            stored = of_version_1(stored, EARLIER)
        except KeyError as error:
            raise InputError(f"{file}: not the description of a Hindcast model: {error} is missing. Fit it again") from None
        except (TypeError, AttributeError):
            raise InputError(
                f"{file}: not the description of a Hindcast model: settings or parameters are none. Fit it again"
            ) from None
    return _validated(Card[dict[str, Any]], stored, file)


def typed(card: Card[dict[str, Any]], kind: str, part: type[Typed], folder: Path) -> Card[Typed]:
    """The same card, with its part as an instance of `part`.

    Raises InputError for a card of another kind, and, naming the field, where the part is none of this kind's.
    """
    if card.kind != kind:
        raise InputError(f"{folder / CARD}: a model of kind {card.kind!r}, not {kind!r}")
    own = _validated(part, card.part, folder / CARD, "part")
    common = {name: getattr(card, name) for name in Card.model_fields if name != "part"}
    return Card[part](**common, part=own)  # type: ignore[valid-type]


AnyModel = TypeVar("AnyModel", bound=BaseModel)


def _validated(model: type[AnyModel], stored: Any, file: Path, *within: str) -> AnyModel:
    try:
        return model.model_validate(stored)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"field {'.'.join(map(str, (*within, *first['loc'])))}: {first['msg'].removeprefix('Value error, ')}"
        raise InputError(f"{file}: not the description of a Hindcast model: {reason}. Fit the model again") from None


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
