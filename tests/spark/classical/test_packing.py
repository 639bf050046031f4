"""Sequences of a DataFrame are kept by the nodes: what happens when they have gone, cannot be kept, or are needed no more."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from hindcast.classical import em, hmm
from hindcast.classical.hmm.data.packing import Chunks, _shared_out
from hindcast.classical.hmm.data.training import training
from hindcast.prep.errors import InputError
from hindcast.prep.files.cache import NAMES
from hindcast.prep.files.cached_arrays import GoneError

FAMILY = hmm.CategoricalHMM(2, n_features=3)
ITERATIONS = 5


def entries() -> list[Path]:
    return sorted(Path(os.environ["HINDCAST_CACHE"]).glob("*/packed-*"))


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    rng = np.random.default_rng(0)
    rows = [(rng.integers(0, 1 + 2 * (number % 2), 30).tolist(), 1.0 + number % 3) for number in range(40)]
    return spark.createDataFrame(rows, "symbols array<int>, weight double").repartition(4).cache()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    assert entries() == []
    yield
    assert entries() == []


def fitted(frame: DataFrame, on_iteration: Callable[[int], Any] = lambda _: None, **how: Any) -> em.History:
    begin = hmm.CategoricalHMM(2).adopt(start()).parameters_
    with training(frame, check=FAMILY._check, **how) as given:
        _, history = em.fit(
            begin, given.data, iterations=ITERATIONS, tolerance=-np.inf, on_iteration=lambda number, _: on_iteration(number)
        )
    return history


def start() -> Any:
    begin = hmm.CategoricalHMM(2)
    begin.startprob_, begin.transmat_ = [0.5, 0.5], [[0.8, 0.2], [0.3, 0.7]]
    begin.emissionprob_ = [[0.6, 0.2, 0.2], [0.3, 0.3, 0.4]]
    return begin.parameters_


def remove(some: list[Path]) -> None:
    assert some
    for entry in some:
        entry.unlink()


def test_entries_serve_while_the_fit_lasts_and_then_are_gone(frame: DataFrame) -> None:
    seen = []
    fitted(frame, lambda _: seen.append([(entry.name, entry.stat().st_ino) for entry in entries()]), weights="weight")
    assert len(seen[0]) == 4
    assert all(NAMES.fullmatch(name) for name, _ in seen[0])  # or they would never be swept
    assert seen == [seen[0]] * ITERATIONS


@pytest.mark.parametrize("how_many", [1, 4])
def test_entries_that_go_in_the_middle_are_packed_again(frame: DataFrame, how_many: int) -> None:
    whole = fitted(frame, weights="weight")
    disturbed = fitted(frame, lambda number: number == 2 and remove(entries()[:how_many]), weights="weight")
    assert disturbed.log_likelihood == whole.log_likelihood


def test_where_entries_go_again_and_again_spark_keeps_the_sequences(frame: DataFrame) -> None:
    left: list[int] = []

    def remove_all(number: int) -> None:
        left.append(len(entries()))
        for entry in entries():
            entry.unlink()

    disturbed = fitted(frame, remove_all, weights="weight")
    np.testing.assert_allclose(disturbed.log_likelihood, fitted(frame, weights="weight").log_likelihood, rtol=1e-13)
    assert left == [4, 4, 0, 0, 0]


def test_a_task_that_went_to_another_node_is_taken_again(frame: DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = Chunks(frame.select("symbols"), FAMILY._check)
    try:
        chunks.pack()
        whole = chunks.through(lambda spans: (one.values.sum() for one in spans), "")
        context, missing = type(frame.sparkSession.sparkContext), entries()[0]
        run, asked = context.runJob, []

        def away_at_first(self: Any, tasks: Any, function: Any, which: Any = None) -> Any:
            asked.append(which)
            if which is None:
                missing.rename(missing.with_name("elsewhere"))
            found = run(self, tasks, function, which)
            if which is None:
                missing.with_name("elsewhere").rename(missing)
            return found

        monkeypatch.setattr(context, "runJob", away_at_first)
        monkeypatch.setattr(chunks, "pack", lambda: pytest.fail("there is no need to pack anything again"))
        assert chunks.through(lambda spans: (one.values.sum() for one in spans), "") == whole
        assert asked == [None, [0]]
    finally:
        chunks.release()


def test_a_fit_that_fails_leaves_nothing(frame: DataFrame, spark: SparkSession) -> None:
    def interrupted(number: int) -> None:
        assert entries()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(frame, interrupted)
    good, bad = (spark.createDataFrame([(row,)], "x array<int>").coalesce(1) for row in ([0, 1, 2], [0, -1]))
    with pytest.raises(InputError, match="found -1"):
        fitted(good.union(bad))


def test_without_a_cache_spark_keeps_the_sequences(frame: DataFrame) -> None:
    whole, seen = fitted(frame), []
    (folder,) = Path(os.environ["HINDCAST_CACHE"]).glob("hindcast-blocks-*")
    folder.rename(folder.with_name("away"))
    folder.touch()
    try:
        alone = fitted(frame, lambda _: seen.append(entries()))
    finally:
        folder.unlink()
        folder.with_name("away").rename(folder)
    np.testing.assert_allclose(alone.log_likelihood, whole.log_likelihood, rtol=1e-13)
    assert seen == [[]] * ITERATIONS


def test_every_task_gets_about_as_many_steps() -> None:
    steps = [10, 1, 1, 1, 1, 1, 5, 10]
    shares = _shared_out([str(number) for number in range(8)], steps, 3)
    assert shares == [["0"], ["1", "2", "3", "4", "5", "6"], ["7"]]
    assert _shared_out(["a", "b"], [7, 7], 5) == [["a"], ["b"]]
    assert _shared_out(["a"], [7], 2) == [["a"]]


def test_what_is_gone_is_an_error_of_its_own(frame: DataFrame) -> None:
    chunks = Chunks(frame.select("symbols"), FAMILY._check)
    try:
        chunks.pack()
        remove(entries())
        with pytest.raises(GoneError, match="it was kept, and is not there"):
            chunks._through(lambda spans: (one.values.sum() for one in spans))
    finally:
        chunks.release()
