"""What a survey of readings finds: plain numbers, without Spark, that `dataclasses.asdict` and `json` can write.

Times and lengths of time are microseconds, times since the epoch, UTC. What cannot be said of these readings is None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Gap:
    """Successive readings of a series so far apart that, at its step, at least one between them is missing."""

    series: str
    start: int
    """Time of the last reading before it."""
    stop: int
    """Time of the first reading after it."""
    alike: int = 1
    """How many gaps of this very length the series has; this is the first of them."""

    @property
    def micros(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class StepBack:
    """The furthest that the time of a reading lies before that of the reading placed before it."""

    series: str
    time: int
    """Time of the reading that is out of order."""
    micros: int


@dataclass(frozen=True)
class SeriesFindings:
    """One series. Where several series are added up, counts are sums, and gaps and steps back the worst."""

    name: str
    readings: int
    """Readings that can be used."""
    bad: int
    """Readings that cannot be understood, but whose series can."""
    first: int | None
    last: int | None
    step: int | None
    """The commonest interval between successive readings; of equally common ones the shortest."""
    intervals: int
    """Intervals longer than nothing between successive readings."""
    on_step: int
    """Those of them that are exactly one step."""
    gaps: int
    """Intervals of one and a half steps or more."""
    steps_missing: int
    """Readings that would fill the gaps, at one a step."""
    longest_gap: Gap | None
    splits: int
    """Intervals at which the settings of the grid would split the series."""
    duplicates: int
    """Readings at a time at which their series already has one."""
    repeats: int
    """Those of the duplicates that say the very same in every channel."""
    out_of_order: int | None
    """Readings whose time lies before that of the one placed before them; None where the order is not known."""
    furthest_back: StepBack | None
    values: int
    """Values there could be: readings times channels."""
    missing: int
    """Values that are not there."""
    constant: tuple[str, ...] = ()
    """Channels that have values here, and only a single one."""
    empty: tuple[str, ...] = ()
    """Channels that have no value here."""
    outliers: int | None = None
    """By the quartiles of each channel, of one series in that series alone; None where no series was looked at by itself."""

    @property
    def faults(self) -> int:
        """How many faults there are, for ordering series by how bad they are."""
        lone = len(self.constant) + len(self.empty)
        return self.bad + self.gaps + self.duplicates + (self.out_of_order or 0) + self.missing + lone


@dataclass(frozen=True)
class Extreme:
    """A lowest or highest value, and where it stands."""

    value: float
    series: str
    time: int


@dataclass(frozen=True)
class Numbers:
    """How the values of a channel lie, over all series or in one. Counts are exact; quartiles are within 0.01 % of their rank."""

    lowest: Extreme
    highest: Extreme
    mean: float | None
    deviation: float | None
    quartiles: tuple[float, float, float]
    fences: tuple[float, float] | None
    """What lies outside is an outlier: REACH interquartile ranges beyond the quartiles. None where the quartiles are equal."""
    whiskers: tuple[float, float]
    """The lowest and the highest value inside the fences."""
    outliers_below: int
    outliers_above: int
    edges: tuple[float, ...]
    """(bins + 1,) of the histogram, which holds the values inside the fences."""
    counts: tuple[int, ...]
    """(bins,) values in each bin: at or above its lower edge and below its upper; the last holds its upper edge as well."""

    @property
    def outliers(self) -> int:
        return self.outliers_below + self.outliers_above


@dataclass(frozen=True)
class Words:
    """The categories of a channel, over all series."""

    distinct: int
    commonest: tuple[tuple[str, int], ...]
    """Some of the commonest and their counts, the commonest first."""


@dataclass(frozen=True)
class ChannelFindings:
    """One channel over all series; `numbers` or `words` by its kind, and neither where it has no value."""

    name: str
    kind: Literal["real", "count", "category"]
    present: int
    missing: int
    constant: bool
    """Whether all values are the same."""
    constant_series: int
    """In how many series all values are the same."""
    empty_series: int
    """In how many series there is none."""
    numbers: Numbers | None = None
    words: Words | None = None


@dataclass(frozen=True)
class SeriesValues:
    """How the values of one series lie, by itself."""

    name: str
    numbers: dict[str, Numbers]
    """By channel, of those of numbers that have a value here."""
    correlations: Correlations | None
    """Of fewer channels than those of all series together; None for a series that is not among the first."""

    @property
    def outliers(self) -> int:
        return sum(numbers.outliers for numbers in self.numbers.values())


@dataclass(frozen=True)
class BadRows:
    """Rows that cannot be understood, by the reason that was found first."""

    reason: str
    """The column that is not what it should be, or, for a row that does not fit the header, how readings/loading.py says so."""
    count: int
    file: str
    row: str
    """One of them: its columns as JSON, cut where it is long."""


@dataclass(frozen=True)
class Correlations:
    """Pearson's correlation of the channels of numbers, over all series or in one, each pair over the readings that hold both."""

    channels: tuple[str, ...]
    """The first of them, where there are many."""
    left_out: int
    """How many more there are."""
    values: tuple[tuple[float | None, ...], ...]
    """(channels, channels); None where one of the two does not vary, or no two readings hold both."""
    pairs: tuple[tuple[int, ...], ...]
    """(channels, channels) readings that hold both."""


@dataclass(frozen=True)
class Findings:
    """Everything that a survey found."""

    overall: SeriesFindings
    """All series together; its step is the commonest interval in all of them."""
    series_count: int
    with_gaps: int
    """Series with gaps, and so on below."""
    with_duplicates: int
    with_out_of_order: int
    with_missing: int
    with_bad: int
    with_constant: int
    other_step: int
    """Series whose own step is not that of all together."""
    series: tuple[SeriesFindings, ...]
    """All series where they are few, else the worst by each fault; the one with most faults first."""
    gaps: tuple[Gap, ...]
    """The longest gaps, the longest first; those of one length in one series are one entry."""
    bad: tuple[BadRows, ...]
    """By reason, the commonest first."""
    channels: tuple[ChannelFindings, ...]
    correlations: Correlations
    by_series: tuple[SeriesValues, ...] = ()
    """The values of each of `series`, in their order; of a single series nothing, as it is all there is."""

    @property
    def bad_rows(self) -> int:
        """Rows of the source that cannot be understood."""
        return sum(rows.count for rows in self.bad)
