"""Estimators on Spark: DataFrames and datasets are fitted as the same sequences in memory are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pyspark.sql import DataFrame, SparkSession

from hindcast.classical import hmm
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec


def drawn(count: int = 60) -> list[np.ndarray]:
    """Symbols of a chain that is easy to tell, in sequences of 0 to 39 steps."""
    truth = hmm.CategoricalHMM(2)
    truth.startprob_, truth.transmat_ = [0.5, 0.5], [[0.95, 0.05], [0.1, 0.9]]
    truth.emissionprob_ = [[0.05, 0.15, 0.8], [0.7, 0.2, 0.1]]
    return [truth.sample(number % 40, random_state=number)[0] for number in range(count)]


@pytest.fixture(scope="module")
def frame(spark: SparkSession) -> DataFrame:
    rows = [(number, one[:, 0].tolist(), 1.0 + number % 2) for number, one in enumerate(drawn())]
    return spark.createDataFrame(rows, "id int, symbols array<int>, weight double").repartition(3).cache()


def assert_same(one: Any, other: Any) -> None:
    a, b = one.parameters_, other.parameters_
    np.testing.assert_allclose(a.start, b.start, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a.transition, b.transition, rtol=1e-9, atol=1e-12)
    for name, array in b.emission.arrays().items():
        np.testing.assert_allclose(getattr(a.emission, name), array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_dataframe_is_fitted_as_the_list_of_its_rows(frame: DataFrame) -> None:
    begin = hmm.CategoricalHMM(2, n_iter=1, random_state=0).fit(frame)
    assert any("sequences without a step" in note for note in begin.monitor_.repairs)
    spread, alone = (hmm.CategoricalHMM(2, n_iter=8, tol=-np.inf, init_params="").adopt(begin.parameters_) for _ in range(2))
    assert_same(spread.fit(frame), alone.fit(drawn()))
    np.testing.assert_allclose(spread.monitor_.history, alone.monitor_.history, rtol=1e-12)
    weighted = hmm.CategoricalHMM(2, n_iter=8, tol=-np.inf, init_params="").adopt(begin.parameters_)
    weighted.fit(frame, weights="weight")
    alone.adopt(begin.parameters_).fit(drawn(), weights=[1.0 + number % 2 for number in range(60)])
    assert_same(weighted, alone)


def test_the_likeliest_path_of_every_row(frame: DataFrame) -> None:
    model = hmm.CategoricalHMM(2, n_iter=10, random_state=0).fit(frame)
    found = {row.id: row.states for row in model.transform(frame).collect()}
    for number, one in enumerate(drawn()):
        assert found[number] == (model.predict(one).tolist() if len(one) else [])
    with pytest.raises(InputError, match="column 'id' is there already"):
        model.transform(frame, output="id")


def test_steps_of_several_channels_may_have_gaps(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    X = [rng.normal(3.0 * (number % 2), 1.0, (20, 2)) for number in range(30)]
    for one in X:
        one[rng.random(one.shape) < 0.2] = np.nan
    rows = [([[None if np.isnan(v) else float(v) for v in step] for step in one],) for one in X]
    frame = spark.createDataFrame(rows, "x array<array<double>>").repartition(2)
    start = hmm.GaussianHMM(2, "full", n_iter=1, random_state=0).fit(X).parameters_
    spread, alone = (hmm.GaussianHMM(2, "full", n_iter=5, tol=-np.inf, init_params="").adopt(start) for _ in range(2))
    assert_same(spread.fit(frame), alone.fit(X))


def test_a_search_and_restarts_share_the_packed_data(frame: DataFrame) -> None:
    found = hmm.search_states(hmm.CategoricalHMM(n_iter=30, n_init=2, random_state=0), frame, states=[1, 2, 3])
    assert found.best.states == 2
    assert found.best.steps == sum(len(one) for one in drawn())


@pytest.mark.parametrize(
    ("rows", "schema", "message"),
    [
        ([([1, 2, -3],)], "x array<int>", "sequence 0, step 2, channel 0: found -3, expected a symbol"),
        ([([1],), (None,)], "x array<int>", "sequence 1 is null"),
        ([([[1, 2], [3]],)], "x array<array<int>>", "sequence 0 has a step of 1 channels, and others have 2"),
        ([("text",)], "x string", "the columns of sequences are none, of x"),
        ([([1], [2])], "x array<int>, y array<int>", "the columns of sequences are x, y: name one"),
        ([([],)], "x array<int>", "no sequence has a step"),
        ([([[1, 2], None],)], "x array<array<int>>", "sequence 0, step 1 is null"),
        ([([None, [1, 2]],)], "x array<array<int>>", "sequence 0, step 0 is null"),
        ([([[]],)], "x array<array<int>>", "sequence 0 has a step of 0 channels$"),
    ],
)
def test_rows_that_cannot_be_are_named(spark: SparkSession, rows: Any, schema: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        hmm.CategoricalHMM(2).fit(spark.createDataFrame(rows, schema).coalesce(1))


def in_two(spark: SparkSession, one: list[Any], other: list[Any], schema: str) -> DataFrame:
    """A partition of each."""
    halves = [spark.createDataFrame(rows, schema).coalesce(1) for rows in (one, other)]
    return halves[0].union(halves[1])


def test_only_all_weights_together_may_not_be_zero(spark: SparkSession) -> None:
    pieces = [[0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]]
    rows = [(piece, float(number > 1)) for number, piece in enumerate(pieces)]
    frame = in_two(spark, rows[:2], rows[2:], "x array<int>, w double")
    start = hmm.CategoricalHMM(2, n_iter=1, random_state=0).fit(np.concatenate(pieces)[:, None], [3] * 4).parameters_
    spread, alone = (hmm.CategoricalHMM(2, n_iter=5, tol=-np.inf, init_params="").adopt(start) for _ in range(2))
    later = np.concatenate(pieces[2:])[:, None]
    assert_same(spread.fit(frame, weights="w"), alone.fit(later, [3, 3]))
    with pytest.raises(InputError, match="weights: all are 0: nothing would count"):
        hmm.CategoricalHMM(2).fit(frame.selectExpr("x", "0 * w as w"), weights="w")
    with pytest.raises(InputError, match="from row 0: weights: sequence 1: found -1"):
        hmm.CategoricalHMM(2).fit(spark.createDataFrame([([1], 1), ([1], -1)], "x array<int>, w int").coalesce(1), weights="w")
    empty = in_two(spark, [([], 1.0)], [([0, 1], 0.0)], "x array<int>, w double")
    with pytest.raises(InputError, match="only sequences without a step have one above 0: nothing would count"):
        hmm.CategoricalHMM(2).fit(empty, weights="w")
    with pytest.raises(InputError, match="only sequences without a step have one above 0: nothing would count"):
        hmm.CategoricalHMM(2).fit([[0], [1]], [0, 2], [1.0, 0.0])


def test_parts_of_only_empty_sequences_have_no_channels(spark: SparkSession) -> None:
    rng = np.random.default_rng(0)
    X = [rng.normal(3.0 * (number % 2), 1.0, (20, 2)) for number in range(6)]
    frame = in_two(spark, [([],), ([],)], [(one.tolist(),) for one in X], "x array<array<double>>")
    start = hmm.GaussianHMM(2, n_iter=1, random_state=0).fit(X).parameters_
    spread, alone = (hmm.GaussianHMM(2, n_iter=5, tol=-np.inf, init_params="").adopt(start) for _ in range(2))
    assert_same(spread.fit(frame), alone.fit(X))
    assert any("sequences without a step: 2" in note for note in spread.monitor_.repairs)
    found = [row.states for row in spread.transform(frame).collect()]
    assert found == [[], [], *(spread.predict(one).tolist() for one in X)]
    uneven = in_two(spark, [([[1.0, 2.0]],)], [([[1.0]],)], "x array<array<double>>")
    with pytest.raises(InputError, match=r"partition 1, from row 0: steps of 1 channels, and those of partition 0, .* have 2"):
        hmm.GaussianHMM(1).fit(uneven)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"weights": [1, 1]}, r"weights: found \[1, 1\], expected the name of a column: one of id, symbols, weight"),
        ({"weights": "often"}, "weights: found 'often', expected the name of a column: one of id, symbols, weight"),
        ({"weights": "symbols"}, "weights: column 'symbols' is of array<int>, expected numbers"),
        ({"column": "words"}, "column: found 'words', expected the name of a column: one of id, symbols, weight"),
        ({"column": "id"}, "column 'id': found int, expected arrays of numbers, .*: the columns of sequences are symbols"),
    ],
)
def test_columns_that_cannot_be_are_named(frame: DataFrame, how: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        hmm.CategoricalHMM(2).fit(frame, **how)
    if "column" in how:
        model = hmm.CategoricalHMM(2, n_iter=1, random_state=0).fit(frame)
        with pytest.raises(InputError, match=message):
            model.transform(frame, **how)


@pytest.fixture(scope="module")
def mixed(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    """A sensor, a count and a category of one regime, hourly."""
    folder, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(0)
    regime = np.repeat(rng.integers(0, 2, 60), 10)
    times = np.datetime_as_string(np.datetime64("2025-03-01T00") + np.arange(600), "s")
    words = np.where(rng.random(600) < 0.1, "idle", np.where(regime == 1, "hot", "cold"))
    values = zip(times, 4 * regime + rng.normal(size=600), rng.poisson(2 + 8 * regime), words, strict=True)
    lines = [f"{time},{heat:.4f},{starts},{mode}" for time, heat, starts, mode in values]
    (folder / "r.csv").write_text("\n".join(["time,heat,starts,mode", *lines]) + "\n")
    tables = {
        "readings": {"path": str(folder / "r.csv"), "timestamp": "time", "counts": ["starts"], "categories": ["mode"]},
        "split": {"train": 400, "validation": 100, "test": 100},
        "windows": {"context": 24, "horizon": 4},
    }
    return prepare(spark, Spec.model_validate(tables), folder / "mixed.seq")


def test_channels_of_a_dataset_have_families_of_their_own(spark: SparkSession, mixed: SequenceDataset) -> None:
    at = {name: [mixed.channels.index(name)] for name in ("heat", "starts", "mode")}
    parts = [(hmm.GaussianHMM(), at["heat"]), (hmm.PoissonHMM(), at["starts"]), (hmm.CategoricalHMM(), at["mode"])]
    local = hmm.ProductHMM(2, parts, n_iter=20, random_state=0).fit(mixed)
    spread = hmm.ProductHMM(2, parts, n_iter=20, random_state=0).fit(mixed, spark=spark)
    np.testing.assert_allclose(spread.monitor_.history, local.monitor_.history, rtol=1e-10)
    np.testing.assert_allclose(local.parts_[1].lambdas_[:, 0], [2, 10], rtol=0.15)
    assert local.parts_[2].emissionprob_.shape == (2, 3)
    with pytest.raises(InputError, match="channel 'mode' is a category, and GaussianHMM emits count or real channels"):
        hmm.GaussianHMM(2).fit(mixed)
    with pytest.raises(InputError, match="each counting once"):
        hmm.ProductHMM(2, parts).fit(mixed, weights=[1.0])


def test_online_em_reads_a_dataset_once(spark: SparkSession, mixed: SequenceDataset) -> None:
    parts = [
        (estimator, [mixed.channels.index(name)])
        for estimator, name in ((hmm.PoissonHMM(), "starts"), (hmm.GaussianHMM(), "heat"), (hmm.CategoricalHMM(), "mode"))
    ]
    local = hmm.ProductHMM(2, parts, random_state=0).fit_online(mixed, batches=8)
    spread = hmm.ProductHMM(2, parts, random_state=0).fit_online(mixed, batches=8, spark=spark)
    assert local.online_history_.count == spread.online_history_.count == 400
    np.testing.assert_allclose(spread.online_history_.log_likelihood, local.online_history_.log_likelihood, rtol=1e-9)
