"""The part of a card that belongs to hidden Markov models. Nothing is compiled here."""

from __future__ import annotations

from typing import Any

from hindcast.classical.em import StoppedBy
from hindcast.classical.hmm.estimator_arguments import arguments_of, in_words
from hindcast.classical.hmm.settings import HmmSettings
from hindcast.forecasting.card import Part


class HmmPart(Part):
    """The part of a hidden Markov model's card.

    estimator   the name of a class in `hindcast.classical.hmm`
    arguments   of its constructor, as JSON has them, with the order that was used
    stopped_by  why EM ended; None where the parameters do not come from a fit in several passes
    steps       how many were scored
    repairs     changes of the fit beyond maximum likelihood: the last of the card's notes
    """

    estimator: str
    arguments: dict[str, Any]
    stopped_by: StoppedBy | None
    steps: float
    repairs: tuple[str, ...]

    @property
    def in_words(self) -> str:
        return in_words(self.estimator, self.arguments)

    @classmethod
    def of_version_1(cls, settings: dict[str, Any]) -> dict[str, Any]:
        fields = {name: value for name, value in settings.items() if name in HmmSettings.model_fields}
        estimator, arguments = arguments_of(HmmSettings.model_validate(fields))
        about = {name: settings[name] for name in ("stopped_by", "steps")}
        return {"estimator": estimator, "arguments": arguments, "repairs": (), **about}
