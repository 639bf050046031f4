"""A GPU's statistics are those of a processor. Where there is no GPU, numba simulates one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest

from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.emissions.student import Student
from hindcast.classical.hmm.gpu import autoregressive, e_step, layout
from hindcast.classical.hmm.gpu.e_step import OnGpu, fault
from hindcast.classical.hmm.gpu.placing import _on_each, _Together
from hindcast.classical.hmm.kernels.lanes import Spans
from hindcast.classical.hmm.model import HiddenMarkov, Statistics
from hindcast.prep.errors import InputError

CLOSE = 1e-12
K, C = 3, 2


def numbers(statistics: Any) -> Iterator[tuple[str, np.ndarray]]:
    for field in fields(statistics):
        value = getattr(statistics, field.name)
        yield from numbers(value) if is_dataclass(value) else [(field.name, np.asarray(value))]


def must_agree(found: Statistics, expected: Statistics) -> None:
    for (name, a), (_, b) in zip(numbers(found), numbers(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=CLOSE, atol=CLOSE * max(np.abs(b).max(), 1e-300), err_msg=name)


def spans(rng: np.random.Generator, missing: float = 0.0, rows: int = 9, length: int = 11, channels: int = C) -> Spans:
    """Rows that own some of their steps, as those of a dataset do; one owns none."""
    values = rng.normal(1, 2, (rows, length, channels)).astype(np.float32)
    observed = (rng.random(values.shape) >= missing).astype(np.uint8) if missing else None
    start, stop = rng.integers(0, 4, rows), rng.integers(length // 2, length + 1, rows)
    start[-1] = stop[-1]
    return Spans(values, observed, np.arange(rows), np.zeros(rows, np.int64), start, stop, rng.uniform(0.5, 2, rows))


def chain(rng: np.random.Generator, states: int = K) -> tuple[np.ndarray, np.ndarray]:
    return rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states)


def gaussian(rng: np.random.Generator, covariance: str = "diag", states: int = K) -> Gaussian:
    roots = rng.normal(0, 0.5, (states, C, C)) + np.eye(C)
    covars = {
        "spherical": rng.uniform(0.5, 2, states),
        "diag": rng.uniform(0.5, 2, (states, C)),
        "full": roots @ roots.swapaxes(1, 2),
        "tied": roots[0] @ roots[0].T,
    }[covariance]
    return Gaussian(rng.normal(0, 2, (states, C)), covars, np.full(C, 1e-9), covariance)


def regressions(rng: np.random.Generator, order: int, filled: bool = False) -> Autoregressive:
    weights = rng.normal(0, 0.3, (K, C, order))
    return Autoregressive(rng.normal(0, 1, (K, C)), weights, rng.uniform(0.5, 2, (K, C)), np.full(C, 1e-9), filled=filled)


def must_agree_on(model: HiddenMarkov[Any], given: Spans) -> OnGpu:
    on_gpu = OnGpu(given, model.emission.order)
    must_agree(model.e_step(on_gpu), model.e_step(given))
    return on_gpu


def lost(model: HiddenMarkov[Any], on_gpu: OnGpu) -> list[int]:
    """Which sequences are left to the processor."""
    (batch,) = on_gpu.batches
    room = e_step._room(0, model.states, batch.steps)
    found: list[int] = e_step._Smoothing(model, e_step.FAMILIES[Gaussian](model.emission), batch, room).lost.tolist()
    return found


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("covariance", ["spherical", "diag", "full", "tied"])
def test_gaussian_statistics_agree(covariance: str, missing: float) -> None:
    rng = np.random.default_rng(0)
    must_agree_on(HiddenMarkov(*chain(rng), gaussian(rng, covariance)), spans(rng, missing))


@pytest.mark.parametrize(("missing", "filled"), [(0.0, False), (0.2, False), (0.2, True)])
def test_autoregressive_statistics_agree(missing: float, filled: bool) -> None:
    rng = np.random.default_rng(1)
    must_agree_on(HiddenMarkov(*chain(rng), regressions(rng, 2, filled)), spans(rng, missing))


def test_products_in_several_squares_and_shares_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a high order are: a square is 4 x 4 here, of more tiles than there are shares."""
    rng = np.random.default_rng(2)
    monkeypatch.setattr(autoregressive, "MOST_PER", 1)
    monkeypatch.setattr(autoregressive, "BLOCKS", 2 * 3 * K * C)
    must_agree_on(HiddenMarkov(*chain(rng), regressions(rng, 6)), spans(rng, 0.05, rows=9, length=40))


def test_states_that_share_a_warp_agree() -> None:
    rng = np.random.default_rng(3)
    must_agree_on(HiddenMarkov(*chain(rng, 10), gaussian(rng, states=10)), spans(rng, rows=5, length=6))


def test_batches_agree_with_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    monkeypatch.setattr(layout, "MOST_STEPS", 50)
    on_gpu = must_agree_on(HiddenMarkov(*chain(rng), gaussian(rng)), spans(rng, rows=layout.WIDTH + 5))
    assert len(on_gpu.batches) == 2


def test_a_model_finds_what_was_laid_out_again() -> None:
    """The lattice of one iteration leaves nothing behind for the next."""
    rng = np.random.default_rng(5)
    given = spans(rng, 0.2)
    on_gpu = OnGpu(given, 0)
    for _ in range(2):
        model = HiddenMarkov(*chain(rng), gaussian(rng))
        must_agree(model.e_step(on_gpu), model.e_step(given))


def test_what_underflows_is_done_again_by_the_processor() -> None:
    """Of two states, one of which cannot be reached, a reading is all but impossible in the other."""
    rng = np.random.default_rng(6)
    emission = Gaussian(np.array([[0.0] * C, [80.0] * C, [0.0] * C]), np.ones((K, C)), np.full(C, 1e-9))
    given = spans(rng)
    given.values[2, 5] = 80.0
    model = HiddenMarkov(np.array([1.0, 0, 0]), np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]]), emission)
    on_gpu = must_agree_on(model, given)
    assert lost(model, on_gpu) == [2]


def test_a_sparse_chain_that_forgets_a_state_too_early_is_done_again_by_the_processor() -> None:
    """Left to right: the state that explains the end has nearly no probability long before it is needed."""
    rng = np.random.default_rng(7)
    emission = Gaussian(np.array([[0.0], [30.0]]), np.ones((2, 1)), np.full(1, 1e-9))
    values = np.zeros((4, 8, 1), np.float32)
    values[1, 4:] = 30.0
    values[1, 2] = 30.0  # seen too early: either state must explain something that it cannot
    where = np.zeros(4, np.int64)
    given = Spans(values, None, np.arange(4), where, where, where + 8, rng.uniform(0.5, 2, 4))
    model = HiddenMarkov(np.array([1.0, 0.0]), np.array([[0.9, 0.1], [0.0, 1.0]]), emission)
    on_gpu = must_agree_on(model, given)
    assert lost(model, on_gpu) == [1]


def test_the_lattice_grows_to_the_largest_and_is_given_back() -> None:
    rng = np.random.default_rng(12)
    e_step.forget_room()
    for states, rows in ((K, 5), (2 * K, 9), (K, 9)):
        must_agree_on(HiddenMarkov(*chain(rng, states), gaussian(rng, states=states)), spans(rng, rows=rows))
        assert len(e_step._memory) == 1
    e_step.forget_room()
    assert not e_step._memory


@pytest.mark.skipif(layout.SIMULATED, reason="numba simulates one GPU, for one thread at a time")
def test_threads_take_e_steps_at_the_same_time() -> None:
    rng = np.random.default_rng(13)
    model, given = HiddenMarkov(*chain(rng), gaussian(rng)), [spans(rng), spans(rng, 0.2)]
    parts = [OnGpu(one, 0, number) for number, one in enumerate(given)]  # each with a lattice of its own, on the one GPU
    for found, one in zip(_on_each([0, 0], parts, lambda part, _: part.e_step(model)), given, strict=True):
        must_agree(found, model.e_step(one))
    must_agree(_Together(parts[:1]).e_step(model), model.e_step(given[0]))


def test_a_sequence_without_weight_says_nothing() -> None:
    rng = np.random.default_rng(8)
    given = spans(rng)
    assert given.weight is not None
    given.weight[3] = 0.0
    model = HiddenMarkov(*chain(rng), gaussian(rng))
    found = model.e_step(OnGpu(given, 0))
    others = np.arange(len(given.row)) != 3
    parts = {name: getattr(given, name)[others] for name in ("row", "first", "start", "stop", "weight")}
    expected = replace(model.e_step(replace(given, **parts)), sequences=found.sequences)
    must_agree(found, expected)


def test_sequences_that_are_all_history_say_nothing() -> None:
    rng = np.random.default_rng(9)
    must_agree_on(HiddenMarkov(*chain(rng), regressions(rng, 12)), spans(rng))


def test_what_there_are_no_kernels_for_is_told() -> None:
    rng = np.random.default_rng(10)
    student = Student(np.zeros((K, C)), np.ones((K, C)), np.full((K, C), 4.0), np.full(C, 1e-9))
    assert fault(HiddenMarkov(*chain(rng), gaussian(rng))) is None
    assert "none for Student" in str(fault(HiddenMarkov(*chain(rng), student)))
    assert "at most 96 states" in str(fault(HiddenMarkov(*chain(rng, 97), gaussian(rng, states=97))))


def test_readings_of_other_channels_are_refused() -> None:
    rng = np.random.default_rng(11)
    with pytest.raises(InputError, match="found readings of 3 channels, and the model has 2"):
        HiddenMarkov(*chain(rng), gaussian(rng)).e_step(OnGpu(spans(rng, channels=3), 0))
