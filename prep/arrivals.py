"""Readings of many series as they come in, in any order: of each series, those are held that its last window may need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from prep.coding import number_of
from prep.preparation import Preparation

# What came in is looked through whenever it is so many readings, and as many as were held before.
ROWS_AT_ONCE = 1_000_000
# The last step of a series without a reading, and the step of a reading whose time is not known: it may be any.
NONE, ANY = -(1 << 62), 1 << 62


@dataclass(frozen=True)
class Rows:
    """Readings: the number of their series, step, time and place (rows,) int64; values (rows, channels) float64."""

    series: np.ndarray
    step: np.ndarray
    time: np.ndarray
    position: np.ndarray
    values: np.ndarray

    def where(self, which: np.ndarray | slice) -> Rows:
        return Rows(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Block:
    """Some series, numbered from 0, with the readings that were held of them, ordered by series and time.

    names       (series,) str
    last        (series,) int64: the step of the last reading, or NONE
    older       (series,) bool: whether there were readings before those that were held
    faults      (series,) object: the column of a reading that was not understood, "" where there is none that may matter
    attributes  (series, attributes) float32
    """

    names: np.ndarray
    rows: Rows
    last: np.ndarray
    older: np.ndarray
    faults: np.ndarray
    attributes: np.ndarray


class Arrivals:
    """What came in. `nameless`: how many readings did not say their series, by the column at fault.

    reach   how many steps, the last one among them, the last window of a series may need
    """

    def __init__(self, preparation: Preparation, reach: int) -> None:
        self.nameless: Counter[str] = Counter()
        self._preparation, self._reach = preparation, reach
        self._series: dict[str, int] = {}
        self._rows: list[Rows] = []
        self._fresh = 0
        self._last = np.empty(0, np.int64)
        self._older = np.empty(0, bool)
        self._faults: dict[int, tuple[int, str]] = {}
        self._attributes: list[dict[int, str]] = [{} for _ in preparation.attributes]

    def add(self, batch: pa.RecordBatch) -> None:
        """Takes readings as `prep.incoming` sends them."""
        good = batch["reason"].is_null()
        if batch["reason"].null_count < batch.num_rows:
            self._set_aside(batch.filter(batch["reason"].is_valid()))
            batch = batch.filter(good)
        if not batch.num_rows:
            return
        series, time = self._numbered(batch["series"]), batch["time"].to_numpy()
        values = [batch[f"c{n}"].to_numpy(zero_copy_only=False) for n in range(len(self._preparation.channels))]
        position = batch["position"].to_numpy() if self._preparation.ordered else np.zeros(len(time), np.int64)
        self._rows.append(Rows(series, self._steps(time), time, position, np.stack(values, axis=1)))
        for number, found in enumerate(self._attributes):
            some, first = np.unique(series, return_index=True)
            found.update(zip(some.tolist(), batch[f"a{number}"].take(pa.array(first)).to_pylist(), strict=True))
        self._fresh += batch.num_rows
        if self._fresh >= max(ROWS_AT_ONCE, len(self._rows[0].time)):
            self._sort_out()

    def blocks(self, size: int) -> Iterator[Block]:
        """Everything that came in, `size` series at a time."""
        self._sort_out()
        none = np.empty(0, np.int64)
        rows = self._rows[0] if self._rows else Rows(none, none, none, none, np.empty((0, len(self._preparation.channels))))
        names = np.array([*self._series], np.str_)
        begin = np.searchsorted(rows.series, np.arange(len(names) + 1))
        for first in range(0, len(names), size):
            stop = min(first + size, len(names))
            some = rows.where(slice(begin[first], begin[stop]))
            yield Block(
                names=names[first:stop],
                rows=Rows(some.series - first, some.step, some.time, some.position, some.values),
                last=self._last[first:stop],
                older=self._older[first:stop],
                faults=np.array([self._fault(number) for number in range(first, stop)], object),
                attributes=self._described(range(first, stop)),
            )

    def _sort_out(self) -> None:
        """Orders what came in, and lets go of what no last window needs."""
        if not self._rows:
            return
        rows = Rows(*(np.concatenate([getattr(part, name) for part in self._rows]) for name in Rows.__dataclass_fields__))
        np.maximum.at(self._last, rows.series, rows.step)
        needed = rows.step > self._last[rows.series] - self._reach
        self._older[rows.series[~needed]] = True
        rows = rows.where(needed)
        keys = (rows.position, rows.time, rows.series) if self._preparation.ordered else (rows.time, rows.series)
        self._rows, self._fresh = [rows.where(np.lexsort(keys))], 0

    def _numbered(self, series: pa.Array) -> np.ndarray:
        encoded = series.dictionary_encode()
        numbers = [self._series.setdefault(name, len(self._series)) for name in encoded.dictionary.to_pylist()]
        more = len(self._series) - len(self._last)
        if more > 0:
            room = max(more, len(self._last))  # doubled, so that it is not copied for every batch
            self._last = np.append(self._last, np.full(room, NONE))
            self._older = np.append(self._older, np.zeros(room, bool))
        return np.array(numbers, np.int64)[encoded.indices.to_numpy()]

    def _steps(self, time: np.ndarray) -> np.ndarray:
        grid = self._preparation.lines
        if self._preparation.grid.aggregate:
            return (time - grid.origin_micros) // grid.step_micros
        steps: np.ndarray = grid.nearest(time)  # type: ignore[arg-type,assignment]  # the same arithmetic on an array
        return steps

    def _set_aside(self, bad: pa.RecordBatch) -> None:
        """Remembers the latest fault of each series."""
        named = bad["series"].is_valid()
        self.nameless.update(bad["reason"].filter(bad["series"].is_null()).to_pylist())
        bad = bad.filter(named)
        if not bad.num_rows:
            return
        time = bad["time"]
        steps = np.where(time.is_null().to_numpy(zero_copy_only=False), ANY, self._steps(time.fill_null(0).to_numpy()))
        for series, step, reason in zip(self._numbered(bad["series"]), steps, bad["reason"].to_pylist(), strict=True):
            self._faults[int(series)] = max(self._faults.get(int(series), (NONE, "")), (int(step), reason))

    def _fault(self, series: int) -> str:
        """Of readings that are set aside, those alone matter that leave nothing of their series."""
        step, reason = self._faults.get(series, (NONE, ""))
        lone = self._last[series] == NONE
        matters = step > self._last[series] - self._reach and self._preparation.readings.bad_rows == "error"
        return reason if lone or matters else ""

    def _described(self, series: range) -> np.ndarray:
        columns = self._preparation.attributes
        found = [
            [number_of(texts.get(number), column.vocabulary) for texts, column in zip(self._attributes, columns, strict=True)]
            for number in series
        ]
        return np.array(found, np.float32).reshape(len(series), len(columns))
