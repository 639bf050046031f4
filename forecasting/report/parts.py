"""What a task, or a kind of models, adds to the page."""

from __future__ import annotations

from dataclasses import dataclass, fields

from hindcast.forecasting.report.contents import Example, Learning, Likelihood, Model, States


@dataclass(frozen=True)
class Parts:
    """Parts of several add up. See `hindcast.forecasting.report.contents.Contents`, whose fields these are."""

    models: tuple[Model, ...] = ()
    examples: tuple[Example, ...] = ()
    learning: tuple[Learning, ...] = ()
    likelihood: tuple[Likelihood, ...] = ()
    states: tuple[States, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Parts) -> Parts:
        return Parts(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})
