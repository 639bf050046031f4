"""The answer in words, computed from the numbers: which has the lowest error, and whether the models are worth their cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hindcast.forecasting.report.contents import Contents, Model
from hindcast.forecasting.report.numbers import count, decimals, duration, fixed, is_finite, listed, percent

TIE = 0.005
"""Errors that differ by less than this share are called a tie."""


@dataclass(frozen=True)
class Headline:
    """`lead` is the answer in a sentence or two, `details` are sentences about each model that need saying after it."""

    lead: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class _Field:
    """Who ran, best first: those with a finite error, those without, and the best baseline."""

    ranked: tuple[Model, ...]
    failed: tuple[Model, ...]
    baselines: tuple[Model, ...]
    places: int

    @property
    def leaders(self) -> tuple[Model, ...]:
        return tuple(model for model in self.ranked if not worse(model, self.ranked[0]))

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(model for model in self.ranked if model.role == "model")

    def mse(self, model: Model) -> str:
        return fixed(model.mse, self.places)


def headline(contents: Contents) -> Headline:
    """The headline of a comparison."""
    ranked = tuple(sorted((model for model in contents.models if math.isfinite(model.mse)), key=lambda model: model.mse))
    field = _Field(
        ranked=ranked,
        failed=tuple(model for model in contents.models if not math.isfinite(model.mse)),
        baselines=tuple(model for model in ranked if model.role == "baseline"),
        places=decimals(model.mse for model in ranked),
    )
    if not ranked:
        return Headline("No model gave a finite error, so there is nothing to compare.", ())
    on = f"on {count(contents.setup.windows)} test window{'s' if contents.setup.windows != 1 else ''}"
    details = [*_others(field), *_cost(field), *_by_mae(field), *_failures(field), *_worth(field)]
    return Headline(_lead(field, on), tuple(details))


def worse(model: Model, than: Model) -> bool:
    """Whether its MSE is higher by more than what counts as a tie."""
    return model.mse > than.mse * (1 + TIE)


def _lead(field: _Field, on: str) -> str:
    names = listed(model.name for model in field.leaders)
    best = field.ranked[0]
    several = len(field.leaders) > 1
    if several:
        shown = list(dict.fromkeys(field.mse(model) for model in field.leaders))
        first = f"{names} tie for the lowest error: MSE {listed(shown, 'to') if len(shown) == 2 else listed(shown)} {on}"
    else:
        first = f"{names} has the lowest error: MSE {field.mse(best)} {on}"
    roles = {model.role for model in field.leaders}
    if roles == {"baseline"}:
        rest = _baseline_leads(field, several)
    elif roles == {"model"} and field.baselines:
        rival = field.baselines[0]
        rest = f", {percent(1 - best.mse / rival.mse)} below {rival.name}, the best baseline ({field.mse(rival)})."
    elif roles == {"model"}:
        rest = ". There is no baseline in this comparison to hold it against."
    else:
        tied = [model.name for model in field.leaders if model.role == "baseline"]
        are = "are baselines" if len(tied) > 1 else "is a baseline"
        rest = f". {listed(tied)} {are}, so nothing here clearly beats the baselines."
    return first + rest


def _baseline_leads(field: _Field, several: bool) -> str:
    they_are, them = ("they are all baselines", "them") if several else ("it is a baseline", "it")
    if not field.models:
        return f", and {they_are}: no model was compared."
    if len(field.models) == 1:
        return f", and {they_are}: {field.models[0].name} does not beat {them}."
    return f", and {they_are}: none of the {len(field.models)} models beats {them}."


def _others(field: _Field) -> list[str]:
    """Each model that does not lead: how far it is from the best, and from the best baseline."""
    best = field.ranked[0]
    sentences = []
    for model in field.models:
        if model in field.leaders:
            continue
        text = f"{model.name} has MSE {field.mse(model)}"
        if best.mse:
            text += f", {percent(model.mse / best.mse - 1)} above {best.name}"
        if field.baselines:
            text += f"; it beats {_beaten(sum(worse(baseline, model) for baseline in field.baselines), len(field.baselines))}"
        sentences.append(f"{text}.")
    return sentences


def _beaten(number: int, baselines: int) -> str:
    if baselines == 1:
        return "the baseline" if number else "no baseline"
    if number in (0, baselines):
        return f"all {baselines} baselines" if number else f"none of the {baselines} baselines"
    return f"{number} of the {baselines} baselines"


def _cost(field: _Field) -> list[str]:
    """What the models that do beat the best baseline cost beside it."""
    if not field.baselines:
        return []
    rival = field.baselines[0]
    winners = [model for model in field.models if worse(rival, model) and is_finite(model.fit_seconds)]
    if not winners or not is_finite(rival.fit_seconds):
        return []
    parts = listed(f"{model.name} {duration(model.fit_seconds)}" for model in winners)
    return [f"What it cost to fit: {parts}; {rival.name} {duration(rival.fit_seconds)}."]


def _by_mae(field: _Field) -> list[str]:
    """Squared errors weigh large misses; where absolute errors order the field otherwise, a reader should know."""
    scored = [model for model in field.ranked if math.isfinite(model.mae)]
    if not scored:
        return []
    best = min(scored, key=lambda model: model.mae)
    rivals = [model for model in field.leaders if math.isfinite(model.mae)]
    if not rivals or min(model.mae for model in rivals) <= best.mae * (1 + TIE):
        return []
    return [f"By mean absolute error the order differs: {best.name} is best with {fixed(best.mae, field.places)}."]


def _failures(field: _Field) -> list[str]:
    return [f"{model.name} failed: its error is not a finite number." for model in field.failed]


def _worth(field: _Field) -> list[str]:
    everyone = [*field.models, *(model for model in field.failed if model.role == "model")]
    if not field.baselines or not everyone:
        return []
    beaten = [model.name for model in everyone if not (math.isfinite(model.mse) and worse(field.baselines[0], model))]
    if not beaten:
        return []
    return [f"A model that does not beat the best baseline is not worth its cost. Here that is {listed(beaten)}."]
