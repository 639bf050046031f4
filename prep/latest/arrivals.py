"""Readings of many series, added in any order. Of each series, only the readings that its last window may need are held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hindcast.prep.dataset.preparation import Preparation
from hindcast.prep.readings.vocabulary import number_of

# What comes in is looked through when it is so many readings, and as many as are held already.
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

    def where(self, index: np.ndarray | slice) -> Rows:
        return Rows(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


def concatenated(parts: list[Rows]) -> Rows:
    return Rows(*(np.concatenate([getattr(part, name) for part in parts]) for name in Rows.__dataclass_fields__))


@dataclass(frozen=True)
class Block:
    """A group of series, numbered from 0, with their held readings, in no order.

    names       (series,) str
    last        (series,) int64: the step of the last reading, or NONE
    older       (series,) bool: whether there were readings before the held ones
    faults      (series,) object: the column of a reading that was not understood, "" where there is none that matters
    attributes  (series, attributes) float32
    """

    names: np.ndarray
    rows: Rows
    last: np.ndarray
    older: np.ndarray
    faults: np.ndarray
    attributes: np.ndarray


class Arrivals:
    """Collects readings. `nameless`: the column at fault → how many readings did not say their series.

    reach   steps, with the last one, that the last window of a series may need
    """

    def __init__(self, preparation: Preparation, reach: int) -> None:
        self.nameless: Counter[str] = Counter()
        self._preparation, self._reach = preparation, reach
        self._batches: list[pa.RecordBatch] = []
        self._batch_rows = 0
        none = np.empty(0, np.int64)
        self._rows = Rows(none, none, none, none, np.empty((0, len(preparation.channels))))
        self._series: dict[str, int] = {}
        self._last = none
        self._older = np.empty(0, bool)
        self._faults: dict[int, tuple[int, str]] = {}
        self._attributes: list[dict[int, str]] = [{} for _ in preparation.attributes]

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds readings with the columns of `hindcast.prep.latest.incoming.readings_by_series`."""
        self._batches.append(batch)
        self._batch_rows += batch.num_rows
        if self._batch_rows >= max(ROWS_AT_ONCE, len(self._rows.time)):
            self._take_in()

    def blocks(self, size: int) -> Iterator[Block]:
        """All series, `size` at a time."""
        self._take_in()
        rows, names = self._rows, np.array([*self._series], np.str_)
        if len(names) > size:
            order = np.argsort((rows.series // size).astype(np.uint32), kind="stable")
            rows = rows.where(order)
        begin = np.searchsorted(rows.series // size, np.arange(-(-len(names) // size) + 1))
        for number, first in enumerate(range(0, len(names), size)):
            stop = min(first + size, len(names))
            block_rows = rows.where(slice(begin[number], begin[number + 1]))
            yield Block(
                names=names[first:stop],
                rows=replace(block_rows, series=block_rows.series - first),
                last=self._last[first:stop],
                older=self._older[first:stop],
                faults=np.array([self._fault(series) for series in range(first, stop)], object),
                attributes=self._described(range(first, stop)),
            )

    def _take_in(self) -> None:
        """Adds what came in to what is held, and lets go of what no last window needs."""
        if not self._batch_rows:
            return
        table = pa.Table.from_batches(self._batches).combine_chunks()
        self._batches, self._batch_rows = [], 0
        if table["reason"].null_count < len(table):
            self._set_aside(table.filter(pc.is_valid(table["reason"])))
            table = table.filter(pc.is_null(table["reason"]))
        if not len(table):
            return
        new = self._read(table)
        np.maximum.at(self._last, new.series, new.step)
        parts = []
        for rows in (self._rows, new):
            needed = rows.step > self._last[rows.series] - self._reach
            if not needed.all():
                self._older[rows.series[~needed]] = True
                rows = rows.where(needed)
            if len(rows.time):
                parts.append(rows)
        self._rows = parts[0] if len(parts) == 1 else concatenated(parts)

    def _read(self, table: pa.Table) -> Rows:
        series, time = self._numbered(table["series"]), table["time"].to_numpy()
        for number, texts in enumerate(self._attributes):
            unique, first = np.unique(series, return_index=True)
            texts.update(zip(unique.tolist(), table[f"a{number}"].take(pa.array(first)).to_pylist(), strict=True))
        return Rows(
            series=series,
            step=self._steps(time),
            time=time,
            position=table["position"].to_numpy() if self._preparation.ordered else np.zeros(len(time), np.int64),
            values=np.stack([table[f"c{n}"].to_numpy() for n in range(len(self._preparation.channels))], axis=1),
        )

    def _numbered(self, series: pa.ChunkedArray) -> np.ndarray:
        encoded = series.combine_chunks().dictionary_encode()
        numbers = [self._series.setdefault(name, len(self._series)) for name in encoded.dictionary.to_pylist()]
        more = len(self._series) - len(self._last)
        if more > 0:
            self._last = np.append(self._last, np.full(more, NONE))
            self._older = np.append(self._older, np.zeros(more, bool))
        return np.array(numbers, np.int64)[encoded.indices.to_numpy()]

    def _steps(self, time: np.ndarray) -> np.ndarray:
        grid = self._preparation.lines
        if self._preparation.grid.aggregate:
            return (time - grid.origin_micros) // grid.step_micros
        steps: np.ndarray = grid.nearest(time)  # type: ignore[arg-type,assignment]  # the same arithmetic on an array
        return steps

    def _set_aside(self, bad: pa.Table) -> None:
        """Remembers the latest fault of each series."""
        self.nameless.update(bad["reason"].filter(pc.is_null(bad["series"])).to_pylist())
        bad = bad.filter(pc.is_valid(bad["series"]))
        if not len(bad):
            return
        timed = pc.is_valid(bad["time"]).to_numpy()
        steps = np.where(timed, self._steps(bad["time"].fill_null(0).to_numpy()), ANY)
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
        numbers = [
            [number_of(words.get(number), column.vocabulary) for words, column in zip(self._attributes, columns, strict=True)]
            for number in series
        ]
        return np.array(numbers, np.float32).reshape(len(series), len(columns))
