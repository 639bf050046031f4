"""What the card of a hidden Markov model says that only these understand. Nothing is compiled here."""

from __future__ import annotations

from typing import Any

from classical.em import StoppedBy
from classical.hmm.settings import HmmSettings
from forecasting.card import Part


class HmmPart(Part):
    """settings    those that acted: the order may have been lowered
    stopped_by  why EM ended
    steps       that were scored
    """

    settings: HmmSettings
    stopped_by: StoppedBy
    steps: float

    @classmethod
    def of_version_1(cls, settings: dict[str, Any]) -> dict[str, Any]:
        known = {name: value for name, value in settings.items() if name in HmmSettings.model_fields}
        return {"settings": known, "stopped_by": settings["stopped_by"], "steps": settings["steps"]}
