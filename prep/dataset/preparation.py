"""How a dataset's readings were put on its grid: what new readings go through as well before a model of it can forecast them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from hindcast.prep.dataset.manifest import Column, Manifest
from hindcast.prep.grid.filling import fills_of
from hindcast.prep.grid.gaps import most_steps_apart
from hindcast.prep.grid.grid import Grid
from hindcast.prep.grid.resampling import Rules, order_matters, rules_of
from hindcast.prep.spec import CalendarSpec, GridSpec, ReadingsSpec


class Preparation(BaseModel):
    """The part of a manifest that does not speak of its readings, but of any.

    readings     what their columns mean; says no place
    series       the name of the series where no column tells several apart
    joined       covariates from a second table: readings alone do not have them
    unseen       of a series that the scaling does not know, where it is by series: scaled as all together, or refused
    """

    model_config = ConfigDict(frozen=True)
    readings: ReadingsSpec
    series: str
    channels: tuple[Column, ...]
    joined: tuple[str, ...]
    attributes: tuple[Column, ...]
    calendar: CalendarSpec
    grid: GridSpec
    origin_micros: int
    step_micros: int
    unseen: Literal["global", "error"]

    @classmethod
    def of(cls, manifest: Manifest) -> Preparation:
        spec = manifest.spec
        nowhere = {"path": (), "table": None, "format": None, "labels": ()}
        return cls(
            readings=spec.readings.model_copy(update=nowhere | {"values": _values(spec.readings, manifest.channels)}),
            series=spec.readings.only_series,
            channels=manifest.channels,
            joined=tuple(name for join in spec.joins for name in join.values),
            attributes=manifest.attributes,
            calendar=spec.calendar,
            grid=spec.grid,
            origin_micros=manifest.origin_micros,
            step_micros=manifest.step_micros,
            unseen=spec.scaling.unseen,
        )

    @property
    def of_channels_alone(self) -> Preparation:
        """For a model that looks at nothing else."""
        return self.model_copy(update={"joined": (), "attributes": (), "calendar": CalendarSpec()})

    @property
    def lines(self) -> Grid:
        return Grid(self.origin_micros, self.step_micros)

    @property
    def most_apart(self) -> int:
        """Steps between the readings on either side of the longest hole that is closed."""
        return most_steps_apart(self.lines, self.grid)

    @property
    def fills(self) -> tuple[str, ...]:
        return fills_of(self.grid, [channel.kind for channel in self.channels])

    @property
    def rules(self) -> Rules:
        return rules_of(self.grid, [channel.name for channel in self.channels], [channel.kind for channel in self.channels])

    @property
    def ordered(self) -> bool:
        return order_matters(self.readings, self.grid)


def _values(readings: ReadingsSpec, channels: tuple[Column, ...]) -> tuple[str, ...]:
    """The columns of channels, also where they were found as those of numbers. In wide form columns are series."""
    return readings.values if readings.form == "wide" else tuple(channel.name for channel in channels)
