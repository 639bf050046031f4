"""What a survey of readings counts, against faults that were put there, pandas, and files whose faults are known."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from hindcast.prep.readings.loading import load
from hindcast.prep.spec import GridSpec, ReadingsSpec
from hindcast.prep.survey import distributions, intervals
from hindcast.prep.survey import survey as quality
from hindcast.prep.survey.findings import Findings
from hindcast.prep.survey.survey import survey
from hindcast.prep.survey.tally import BINS
from tests.compiling import compiled

HOUR, DAY = 3_600_000_000, 86_400_000_000
START = pd.Timestamp("2025-03-01")


def look(spark: SparkSession, path: Path, grid: dict[str, Any] | None = None, *, ordered: bool = True, **fields: Any) -> Findings:
    spec = ReadingsSpec.model_validate({"path": str(path), "timestamp": "time", **fields})
    return survey(load(spark, spec, ordered=ordered), GridSpec.model_validate(grid or {}), ordered=ordered)


def micros(time: str) -> int:
    return pd.Timestamp(time).value // 1000


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Series a: hourly, a gap of 5 h (twice) and of 2 h, two duplicates (one word for word), a step back of 3 h, a value missing.
    Series b: every 2 h, without a fault, but with a constant channel. Three bad rows, one without a series."""
    lines = ["time,sensor,x,y,n,state"]
    hours = [0, 1, 2, 7, 8, 9, 14, 15, 17, 18]
    a = [f"{START + pd.Timedelta(hours=hour)},a,{hour}.5,{-hour},{hour % 3},{'up' if hour < 9 else 'down'}" for hour in hours]
    a[4] = a[4].replace(",8.5,", ",,")
    a.insert(3, a[2])
    a.insert(7, f"{START + pd.Timedelta(hours=9)},a,99,-9,0,down")
    a.append(a.pop(-3))  # 15:00 comes after 18:00
    lines += a
    lines += [f"{START + pd.Timedelta(hours=2 * step)},b,{step},7,{step % 2},up" for step in range(6)]
    lines += [f"{START},a,ERR,0,0,up", f"{START},b,0,0,1.5,up", "yesterday,,0,0,0,up"]
    path = tmp_path_factory.mktemp("faulty") / "faulty.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


FAULTY = {"series": "sensor", "values": ["x", "y", "n", "state"], "counts": ["n"], "categories": ["state"]}


@pytest.fixture(scope="module")
def found(spark: SparkSession, faulty: Path) -> Findings:
    with compiled(spark):
        return look(spark, faulty, **FAULTY)


def test_every_fault_is_counted(found: Findings) -> None:
    a, b = found.series
    assert (a.name, a.readings, a.bad, a.first, a.last) == ("a", 12, 1, micros("2025-03-01"), micros("2025-03-01 18:00"))
    assert (a.step, a.intervals, a.on_step) == (HOUR, 9, 6)
    assert (a.gaps, a.steps_missing, a.splits) == (3, 4 + 4 + 1, 2)
    assert (a.duplicates, a.repeats, a.out_of_order) == (2, 1, 1)
    assert a.furthest_back is not None
    assert (a.furthest_back.time, a.furthest_back.micros) == (micros("2025-03-01 15:00"), 3 * HOUR)
    assert (a.values, a.missing, a.constant, a.empty) == (48, 1, (), ())
    assert (b.readings, b.bad, b.step, b.on_step, b.gaps, b.duplicates, b.out_of_order) == (6, 1, 2 * HOUR, 5, 0, 0, 0)
    assert b.constant == ("y", "state")


def test_all_series_together_are_their_sums(found: Findings) -> None:
    overall = found.overall
    assert (overall.readings, overall.bad, found.bad_rows, found.series_count) == (18, 2, 3, 2)
    assert (overall.step, overall.gaps, overall.duplicates, overall.out_of_order, overall.missing) == (HOUR, 3, 2, 1, 1)
    # Where the grid has a step of 1 h, the 2 h of b are filled, not split.
    assert (overall.splits, found.other_step) == (2, 1)
    assert (found.with_gaps, found.with_duplicates, found.with_out_of_order, found.with_missing) == (1, 1, 1, 1)
    assert (found.with_bad, found.with_constant) == (2, 1)


def test_gaps_are_listed_the_longest_first(found: Findings) -> None:
    first, second = found.gaps
    assert (first.series, first.start, first.stop, first.alike) == (
        "a",
        micros("2025-03-01 02:00"),
        micros("2025-03-01 07:00"),
        2,
    )
    assert (second.micros, second.start, second.alike) == (2 * HOUR, micros("2025-03-01 15:00"), 1)
    assert found.overall.longest_gap is not None
    assert (found.overall.longest_gap.start, found.overall.longest_gap.stop) == (first.start, first.stop)


def test_bad_rows_are_told_by_reason_with_one_of_each(found: Findings) -> None:
    by_reason = {rows.reason: rows for rows in found.bad}
    assert {reason: rows.count for reason, rows in by_reason.items()} == {"x": 1, "n": 1, "time": 1}
    assert json.loads(by_reason["x"].row)["x"] == "ERR"
    assert by_reason["time"].file.endswith("faulty.csv")


def test_channels_by_kind(found: Findings) -> None:
    x, y, n, state = found.channels
    assert [channel.kind for channel in found.channels] == ["real", "real", "count", "category"]
    assert (x.present, x.missing, x.constant, x.constant_series) == (17, 1, False, 0)
    assert (y.constant_series, state.constant_series) == (1, 1)
    assert n.numbers is not None
    assert (n.numbers.edges, sum(n.numbers.counts)) == ((-0.5, 0.5, 1.5, 2.5), 18)
    assert state.words is not None
    assert (state.words.distinct, state.words.commonest) == (2, (("up", 12), ("down", 6)))
    assert found.correlations.channels == ("x", "y", "n")


def test_the_grid_decides_what_is_split_and_order_needs_to_be_asked_for(spark: SparkSession, faulty: Path) -> None:
    spec = ReadingsSpec.model_validate({"path": str(faulty), "timestamp": "time", "series": "sensor", "values": ["y"]})
    lengths = intervals.intervals(load(spark, spec).good, 1, ordered=False, parts=2).persist()
    found = intervals.Intervals(lengths, intervals.commonest(lengths))
    grids = {"default": {}, "long": {"max_gap": "5h"}, "none": {"fill": "none"}, "coarse": {"step": "5h", "fill": "none"}}
    splits = {}
    for name, grid in grids.items():
        rows = intervals.by_series(found, GridSpec.model_validate(grid)).collect()
        splits[name] = sum(row["splits"] for row in rows)
    lengths.unpersist()
    # Without filling, every interval of two hours is one too.
    assert splits == {"default": 2, "long": 0, "none": 3 + 5, "coarse": 0}
    assert {(row["out_of_order"], row["furthest_back"]) for row in rows} == {(None, None)}


def test_findings_are_json(found: Findings) -> None:
    assert json.loads(json.dumps(asdict(found), allow_nan=False))["overall"]["gaps"] == 3


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Numbers of every sort in several files, so that several partitions are added up."""
    rng = np.random.default_rng(3)
    rows = 3000
    normal = rng.normal(1e6, 2.0, rows)
    frame = pd.DataFrame(
        {
            "normal": normal,
            "follows": 3 * (normal - 1e6) + rng.normal(0, 1, rows),
            "heavy": rng.standard_t(1.5, rows),
            "flat": np.full(rows, 0.1),
            "huge": rng.choice([-3.4e38, 1.0, 3.4e38], rows),
            "rain": np.where(rng.random(rows) < 0.9, 0.0, rng.exponential(2.0, rows)),
        }
    )
    for name in ("normal", "follows", "heavy"):
        frame.loc[rng.random(rows) < 0.2, name] = np.nan
    frame.insert(0, "time", START + pd.to_timedelta(np.arange(rows), unit="min"))
    folder = tmp_path_factory.mktemp("table")
    for part in range(4):
        frame.iloc[part::4].to_csv(folder / f"{part}.csv", index=False)
    return folder, frame


@pytest.fixture(scope="module")
def counted(spark: SparkSession, table: tuple[Path, pd.DataFrame]) -> Findings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributions, "CORRELATED", 5)
        return look(spark, table[0])


def test_quartiles_extremes_and_outliers_are_those_of_pandas(counted: Findings, table: tuple[Path, pd.DataFrame]) -> None:
    for channel in counted.channels[:3]:
        held, numbers = table[1][channel.name].dropna(), channel.numbers
        assert numbers is not None
        assert channel.present == len(held)
        ranks = [(held <= quartile).mean() for quartile in numbers.quartiles]
        np.testing.assert_allclose(ranks, [0.25, 0.5, 0.75], atol=2e-3)
        assert (numbers.lowest.value, numbers.highest.value) == (held.min(), held.max())
        assert numbers.highest.time == table[1].time[held.idxmax()].value // 1000
        np.testing.assert_allclose([numbers.mean, numbers.deviation], [held.mean(), held.std(ddof=0)], rtol=1e-6)
        assert numbers.fences is not None
        low, high = numbers.fences
        np.testing.assert_allclose(high, numbers.quartiles[2] + 3 * (numbers.quartiles[2] - numbers.quartiles[0]))
        assert (numbers.outliers_below, numbers.outliers_above) == ((held < low).sum(), (held > high).sum())
        within = held[(held >= low) & (held <= high)]
        assert numbers.whiskers == (within.min(), within.max())
    assert counted.channels[2].numbers is not None
    assert counted.channels[2].numbers.outliers > 50


def test_histograms_are_those_of_numpy(counted: Findings, table: tuple[Path, pd.DataFrame]) -> None:
    for channel in counted.channels:
        held, numbers = table[1][channel.name].dropna(), channel.numbers
        assert numbers is not None
        low, high = numbers.fences or (-np.inf, np.inf)
        within = held[(held >= low) & (held <= high)]
        assert numbers.counts == tuple(np.histogram(within, np.array(numbers.edges))[0])
        assert sum(numbers.counts) + numbers.outliers == len(held)
        assert len(numbers.counts) == (1 if channel.constant else BINS)


def test_correlations_are_those_of_pandas(counted: Findings, table: tuple[Path, pd.DataFrame]) -> None:
    matrix = counted.correlations
    assert (matrix.channels, matrix.left_out) == (("normal", "follows", "heavy", "flat", "huge"), 1)
    expected = table[1][list(matrix.channels)].astype(float)
    for i, one in enumerate(matrix.channels):
        for j, other in enumerate(matrix.channels):
            assert matrix.pairs[i][j] == expected[[one, other]].dropna().shape[0] or one == other
            if "flat" in (one, other):
                assert matrix.values[i][j] is None
            elif "huge" not in (one, other):
                np.testing.assert_allclose(matrix.values[i][j], expected[one].corr(expected[other]), atol=1e-9)


def test_a_channel_whose_quartiles_are_equal_has_no_outliers(counted: Findings) -> None:
    flat, _, rain = counted.channels[3:]
    assert rain.numbers is not None
    assert rain.numbers.fences is None
    assert rain.numbers.outliers == 0
    assert flat.constant
    assert counted.overall.constant == ("flat",)
    assert counted.series[0].constant == ("flat",)


def test_files_that_overlap_are_out_of_order_once_each(counted: Findings) -> None:
    assert (counted.overall.out_of_order, counted.overall.duplicates, counted.overall.gaps) == (3, 0, 0)


def test_of_many_series_only_the_worst_are_brought_home(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "ALL_SERIES", 20)
    monkeypatch.setattr(quality, "WORST", 2)
    lines = ["time,sensor,`x.y`"]
    for number in range(60):
        hours = [0, 1, 2, 3] if number % 2 else [0, 1, 2, 30 + number]
        lines += [f"{START + pd.Timedelta(hours=hour)},s{number:03d},{hour}" for hour in hours]
    lines.append(f"{START},s001,0")
    (tmp_path / "many.csv").write_text("\n".join(lines))
    many = look(spark, tmp_path / "many.csv", series="sensor")
    assert (many.series_count, many.with_gaps, many.overall.gaps, many.with_duplicates) == (60, 30, 30, 1)
    assert many.channels[0].name == "`x.y`"
    # The lexically first of those with one gap, those with the longest, and the one with a duplicate.
    assert {one.name for one in many.series} == {"s000", "s002", "s056", "s058", "s001"}
    assert [gap.series for gap in many.gaps] == ["s058", "s056"]


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pd.DataFrame]:
    """Series at levels of their own, in turn, in several files; one has a constant channel, one an empty one."""
    rng = np.random.default_rng(5)
    rows, names = 600, ("low", "middle", "high")
    frame = pd.DataFrame({"time": np.repeat(START + pd.to_timedelta(np.arange(rows), unit="min"), 3), "sensor": names * rows})
    level = frame.sensor.map({"low": 0.0, "middle": 1e3, "high": 1e6})
    frame["x"] = level + rng.standard_t(1.5, 3 * rows)
    # Against x in the first, with it in the others.
    frame["y"] = (frame.x - level) * np.where(frame.sensor == "low", -1, 1) + rng.normal(0, 1, 3 * rows)
    frame["n"] = rng.poisson(2, 3 * rows)
    frame.loc[frame.sensor == "high", "n"] = 4
    frame.loc[frame.sensor == "middle", "y"] = np.nan
    folder = tmp_path_factory.mktemp("levels")
    for part in range(3):
        frame.iloc[part * rows : (part + 1) * rows].to_csv(folder / f"{part}.csv", index=False)
    return folder, frame


@pytest.fixture(scope="module")
def each(spark: SparkSession, levels: tuple[Path, pd.DataFrame]) -> Findings:
    return look(spark, levels[0], series="sensor", counts=["n"], values=["x", "y", "n"])


def test_each_series_is_looked_at_by_itself(each: Findings, levels: tuple[Path, pd.DataFrame]) -> None:
    assert [one.name for one in each.by_series] == [one.name for one in each.series]
    assert {one.name for one in each.by_series} == {"low", "middle", "high"}
    for one in each.by_series:
        for name, numbers in one.numbers.items():
            held = levels[1][levels[1].sensor == one.name][name].dropna()
            ranks = [((held < quartile).mean(), (held <= quartile).mean()) for quartile in numbers.quartiles]
            for rank, (below, upto) in zip((0.25, 0.5, 0.75), ranks, strict=True):
                assert below - 2e-3 <= rank <= upto + 2e-3
            assert (numbers.lowest.value, numbers.highest.value) == (held.min(), held.max())
            assert numbers.lowest.series == one.name
            low, high = numbers.fences or (-np.inf, np.inf)
            within = held[(held >= low) & (held <= high)]
            assert (numbers.outliers_below, numbers.outliers_above) == ((held < low).sum(), (held > high).sum())
            assert numbers.whiskers == (within.min(), within.max())
            assert numbers.counts == tuple(np.histogram(within, np.array(numbers.edges))[0])
    by_name = {one.name: one for one in each.by_series}
    assert by_name["middle"].numbers.keys() == {"x", "n"}
    assert by_name["high"].numbers["n"].edges == (4.0, 4.0)


def test_outliers_of_a_series_are_not_hidden_by_the_levels_of_the_others(each: Findings) -> None:
    assert each.overall.outliers == sum(one.numbers.outliers for one in each.channels if one.numbers is not None)
    x = each.channels[0].numbers
    assert x is not None
    assert x.outliers == 0
    for one, values in zip(each.series, each.by_series, strict=True):
        assert one.outliers == values.outliers == sum(numbers.outliers for numbers in values.numbers.values())
        assert values.numbers["x"].outliers > 10


def test_correlations_of_each_series_are_those_of_pandas(each: Findings, levels: tuple[Path, pd.DataFrame]) -> None:
    for one in each.by_series:
        assert one.correlations is not None
        held = levels[1][levels[1].sensor == one.name][["x", "y", "n"]]
        for i, first in enumerate(held):
            for j, second in enumerate(held):
                with np.errstate(invalid="ignore"):
                    expected = held[first].corr(held[second])
                found = one.correlations.values[i][j]
                assert (found is None) == bool(np.isnan(expected)), (one.name, first, second)
                if found is not None:
                    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_channels_that_never_change_are_named_of_all_and_of_each(each: Findings, found: Findings) -> None:
    lone = {one.name: (one.constant, one.empty) for one in each.series}
    assert lone == {"low": ((), ()), "middle": ((), ("y",)), "high": (("n",), ())}
    assert (each.overall.constant, each.overall.empty, found.overall.constant) == ((), (), ())


def test_a_single_series_is_not_looked_at_twice(counted: Findings) -> None:
    assert counted.by_series == ()
    assert counted.series[0].outliers == counted.overall.outliers
    assert counted.overall.outliers == sum(one.numbers.outliers for one in counted.channels if one.numbers is not None)


def test_no_more_series_are_looked_at_by_themselves_than_is_said(
    spark: SparkSession, levels: tuple[Path, pd.DataFrame], each: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "ALONE", 2 * 3 + 1)
    monkeypatch.setattr(quality, "MATRICES", 1)
    monkeypatch.setattr(distributions, "MATRICES", 1)
    few = look(spark, levels[0], series="sensor", counts=["n"], values=["x", "y", "n"])
    assert [one.numbers for one in few.by_series] == [one.numbers for one in each.by_series[:2]]
    assert few.by_series[0].correlations == each.by_series[0].correlations
    assert few.by_series[1].correlations is None
    assert [one.outliers for one in few.series] == [*(one.outliers for one in each.series[:2]), None]


def test_a_series_of_bad_rows_alone_has_no_values(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(f"time,sensor,x\n{START},a,1\n{START},b,ERR\n{START + pd.Timedelta(hours=1)},a,2\n")
    one = look(spark, tmp_path / "bad.csv", series="sensor", values=["x"])
    values = {held.name: held.numbers.keys() for held in one.by_series}
    assert values == {"a": {"x"}, "b": set()}
    assert {held.name: (held.bad, held.outliers) for held in one.series} == {"a": (0, 0), "b": (1, 0)}


def test_a_source_without_bad_rows_is_not_read_for_them(spark: SparkSession, levels: tuple[Path, pd.DataFrame]) -> None:
    spec = ReadingsSpec.model_validate({"path": str(levels[0]), "timestamp": "time", "series": "sensor", "values": ["n"]})
    readings = load(spark, spec)
    unread = replace(readings, bad=spark.range(1).selectExpr("raise_error('it was read') as reason", "'' as file", "'' as row"))
    assert survey(unread, GridSpec(), ordered=False).bad == ()


def test_readings_of_which_none_is_good(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("time,x\nnever,1\nlater,2\n")
    nothing = look(spark, tmp_path / "bad.csv", ordered=False, values=["x"])
    assert (nothing.overall.readings, nothing.bad_rows, nothing.overall.step, nothing.gaps) == (0, 2, None, ())
    assert nothing.overall.out_of_order is None
    assert nothing.channels[0].numbers is None
    json.dumps(asdict(nothing), allow_nan=False)


@pytest.mark.data
def test_a_real_sensor_has_the_gaps_that_are_known_of_it(spark: SparkSession, shared: Path) -> None:
    found = look(spark, shared / "data/nab/ambient_temperature_system_failure.csv", timestamp="timestamp")
    ambient = found.overall
    assert (ambient.readings, ambient.step, ambient.gaps, ambient.duplicates) == (7_267, HOUR, 10, 0)
    assert ambient.longest_gap is not None
    assert ambient.longest_gap.micros == 7.25 * DAY
    assert ambient.longest_gap.start == micros("2014-04-03 09:00")
    # 2 h and 3 h are filled.
    assert ambient.splits == 8
