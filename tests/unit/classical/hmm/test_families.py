"""What every family of emissions has to do, one after the other: a new one is tested by standing in `families.FAMILIES`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from hindcast.classical import hmm
from hindcast.classical.hmm.data.sequences import sequences_of, subset
from hindcast.classical.hmm.emissions.shared.covariances import KINDS
from hindcast.classical.hmm.forecast import HmmForecaster
from hindcast.classical.hmm.from_settings import estimator_of
from hindcast.classical.hmm.kernels.lanes import Spans, groups, whole
from hindcast.classical.hmm.kernels.vector import LANES
from hindcast.classical.hmm.settings import Family, HmmSettings, channel_kinds
from hindcast.prep.dataset.manifest import Column
from hindcast.prep.dataset.windows import Given
from hindcast.prep.errors import InputError
from tests.unit.classical.families import FAMILIES, LENGTHS, Case


def families(chosen: Callable[[Case], Any]) -> Any:
    some = {name: case for name, case in FAMILIES.items() if chosen(case)}
    return pytest.mark.parametrize("case", some.values(), ids=some.keys())


every_family = families(lambda case: True)


def numbers(value: Any) -> list[np.ndarray]:
    """All numbers that statistics hold."""
    if isinstance(value, tuple):
        return [array for one in value for array in numbers(one)]
    if hasattr(value, "__dataclass_fields__"):
        return [array for name in value.__dataclass_fields__ for array in numbers(getattr(value, name))]
    return [np.asarray(value)]


def assert_equal(found: Any, expected: Any, **within: float) -> None:
    for one, other in zip(numbers(found), numbers(expected), strict=True):
        np.testing.assert_allclose(one, other, **within)


def spans_of(case: Case, readings: np.ndarray) -> Spans:
    return sequences_of(readings, LENGTHS, check=case.make()._check)


def densities(emission: Any, spans: Spans) -> np.ndarray:
    """(sequences, states): log p of each sequence's last reading."""
    spans = spans.after_history(emission.order)
    out = np.empty((len(spans.row), emission.states))
    for group in groups(spans, emission.order, emission.centre):
        density = np.empty((group.steps, emission.states, LANES))
        emission.log_density(group, density)
        for sequence, of_sequence in group.each(density):
            out[sequence] = of_sequence[-1]
    return out


def test_every_estimator_every_covariance_and_every_family_of_settings_is_here() -> None:
    made = [case.make() for case in FAMILIES.values()]
    assert {type(one).__name__ for one in made} == set(hmm.ESTIMATORS)
    for estimator in (hmm.GaussianHMM, hmm.GMMHMM):
        assert {one.covariance_type for one in made if isinstance(one, estimator)} == set(KINDS)
    assert {case.settings["emission"] for case in FAMILIES.values() if case.settings} == set(get_args(Family))


@every_family
def test_saved_and_loaded_to_the_last_digit(case: Case, tmp_path: Path) -> None:
    model = case.make(n_iter=3, random_state=0).fit(case.readings, LENGTHS)
    model.save(tmp_path / "model")
    again = hmm.load(tmp_path / "model")
    assert type(again) is type(model)
    assert_equal((again.startprob_, again.transmat_), (model.startprob_, model.transmat_), rtol=0)
    for name, array in model.parameters_.emission.arrays().items():
        np.testing.assert_array_equal(again.parameters_.emission.arrays()[name], array, err_msg=name)
    assert again.score(case.readings, LENGTHS) == model.score(case.readings, LENGTHS)
    assert again.arguments() == model.arguments()
    assert (again.monitor_, again.history_) == (model.monitor_, model.history_)
    assert (again.monitor_.seconds, again.monitor_.cpu_seconds) == (model.monitor_.seconds, model.monitor_.cpu_seconds)
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == ["model.json", "parameters.json"]


@every_family
def test_any_order_and_any_partitioning_of_sequences_say_the_same(case: Case) -> None:
    model, spans = case.begun().parameters_, spans_of(case, case.readings)
    expected = model.e_step(spans)
    for parts in ([[3, 1, 0, 2]], [[2], [0, 3], [1]], [[0], [1], [2], [3]]):
        found = reduce(operator.add, (model.e_step(subset(spans, np.array(part))) for part in parts))
        assert_equal(found, expected, rtol=1e-10, atol=1e-10)


@every_family
def test_a_step_that_was_not_measured_says_nothing(case: Case) -> None:
    readings, order = case.readings.astype(float), case.make()._order
    model = case.begun()
    readings[20] = np.nan
    known, ahead = model.filtered_proba(readings, LENGTHS), model.predicted_proba(readings, LENGTHS)
    unknown = slice(20, 21 + order)  # a regression is not on what is not known
    np.testing.assert_allclose(known[unknown], ahead[unknown], atol=1e-12)
    cut = readings[:21]
    np.testing.assert_allclose(model.score(cut), model.score(cut[:20]), rtol=1e-12)
    if not order:
        filled = model.decode(readings, LENGTHS)[1]
        assert (filled >= 0).all()


@families(lambda case: case.completions)
def test_channels_that_were_not_measured_are_marginalised(case: Case) -> None:
    assert case.completions is not None
    emission = case.begun().parameters_.emission
    for step in (30, 71, 100):
        before, reading = case.readings[step - emission.order : step].astype(float), case.readings[step].astype(float)
        filled, weights, missing = case.completions(reading)
        rows = np.stack([np.vstack([before, one]) for one in filled])
        logs = densities(emission, whole(rows)) + np.log(weights)[:, None]
        observed = np.ones((1, *rows.shape[1:]), np.uint8)
        observed[0, -1, missing] = 0
        expected = densities(emission, whole(np.vstack([before, reading])[None], observed))
        np.testing.assert_allclose(np.logaddexp.reduce(logs, axis=0), expected[0], rtol=1e-8, atol=1e-8)


@every_family
def test_readings_that_cannot_be_are_named(case: Case) -> None:
    fitted = case.begun()
    for wrong in case.wrong:
        readings = case.readings.astype(float)
        readings[63, 0] = wrong
        for ask in (case.make().fit, fitted.score, fitted.predict):
            with pytest.raises(InputError, match=r"sequence 2, step 2, channel 0: found "):
                ask(readings, LENGTHS)
    wide = np.column_stack([case.readings, case.readings])
    with pytest.raises(InputError, match=r"found (readings of )?\d channels"):
        fitted.score(wide, LENGTHS)
    for bad in (case.readings[:, 0], case.readings[:, :0], case.readings.astype(str)):
        with pytest.raises(InputError, match=r"found|expected"):
            case.make().fit(bad, LENGTHS)


@every_family
def test_channels_of_another_kind_are_named(case: Case) -> None:
    model, kinds = case.make(), case.kinds
    columns = [Column(name=f"c{number}", kind=kind) for number, kind in enumerate(kinds)]
    model.must_emit(columns, "x.seq")
    other = "real" if kinds[0] == "category" else "category"
    with pytest.raises(InputError, match=rf"x\.seq: channel 'c0' is a {other}, and \w+ emits"):
        model.must_emit([columns[0].model_copy(update={"kind": other}), *columns[1:]], "x.seq")
    if case.settings is not None:
        assert set(kinds) <= channel_kinds(HmmSettings(**case.settings)) == model.KINDS


@every_family
def test_what_is_known_at_a_time_is_unmoved_by_the_future(case: Case) -> None:
    model, readings = case.begun(), case.readings[:60].copy()
    other = readings.copy()
    other[40:] = readings[:20]
    for ask in (model.filtered_proba, model.predicted_proba):
        np.testing.assert_array_equal(ask(readings)[:40], ask(other)[:40])
    np.testing.assert_allclose(model.filtered_proba(readings[:40]), model.filtered_proba(readings)[:40], rtol=1e-9, atol=1e-12)
    if model.cannot_forecast is None:
        windows = np.stack([readings[:40], readings[20:60]]).astype(np.float32)
        both, alone = (HmmForecaster(model.parameters_, 5).forecast(Given.of(one)) for one in (windows, windows[:1]))
        np.testing.assert_allclose(both.mean[0], alone.mean[0], rtol=1e-12)
        np.testing.assert_allclose(both.deviation[0], alone.deviation[0], rtol=1e-9)


@every_family
def test_resumed_equals_uninterrupted(case: Case, tmp_path: Path) -> None:
    def killed(iteration: int, _: float) -> None:
        if iteration == 7:
            raise KeyboardInterrupt

    model = case.make(n_iter=8, tol=-np.inf, n_init=2, random_state=0)
    expected = case.make(n_iter=8, tol=-np.inf, n_init=2, random_state=0).fit(case.readings, LENGTHS)
    file, seen = tmp_path / "fit", list[int]()
    with pytest.raises(KeyboardInterrupt):
        model.fit(case.readings, LENGTHS, checkpoint=file, on_iteration=killed)
    assert not hasattr(model, "startprob_")
    model.fit(case.readings, LENGTHS, checkpoint=file, resume=True, on_iteration=lambda number, _: seen.append(number))
    assert seen == [6, 7, 8]
    assert model.monitor_ == expected.monitor_
    for name, array in expected.parameters_.emission.arrays().items():
        np.testing.assert_array_equal(model.parameters_.emission.arrays()[name], array, err_msg=name)
    assert len(model.history_.seconds) == 8
    assert model.monitor_.seconds > sum(model.history_.seconds)
    assert model.monitor_.cpu_seconds > sum(model.history_.cpu_seconds)
    for changed, what in (({"X": case.readings[::-1]}, "data"), ({"lengths": [60, 1, 36, 53]}, "data"), ({"n": 4}, "states")):
        other = case.make(random_state=0, n_init=2).set_params(n_components=changed.get("n", 3))
        again = {"checkpoint": file, "resume": True}
        with pytest.raises(InputError, match=f"of another fit, whose {what} is"):
            other.fit(changed.get("X", case.readings), changed.get("lengths", LENGTHS), **again)


@families(lambda case: case.settings)
def test_settings_ask_for_it(case: Case) -> None:
    assert case.settings is not None
    told = {"states": 3, "iterations": 4, "tolerance": 0.0, "seed": 5, "restarts": 2, "structure": "left-right"}
    settings = HmmSettings(**{**case.settings, **told, "start_prior": 2.0, "transition_prior": 3.0})
    model = estimator_of(settings, n_jobs=2)
    expected = case.make(
        n_iter=4, tol=0.0, random_state=5, n_init=2, structure="left-right", startprob_prior=2.0, transmat_prior=3.0
    )
    asked, meant = model.arguments(), expected.arguments()
    assert asked | {"n_jobs": 1, "tol_of": "total"} == meant
    model.fit(case.readings, LENGTHS)
    expected.fit(case.readings, LENGTHS)
    np.testing.assert_array_equal(model.transmat_, expected.transmat_)
    assert model.monitor_.history == expected.monitor_.history
