from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hindcast.deep.inputs import Inputs
from hindcast.deep.training.feed import AT_A_TIME, Epoch, Rows, Share, order, take, training_feed, validation_feed
from hindcast.deep.training.mixing import mixed
from hindcast.prep.dataset.windows import Windows

counts = st.integers(1, 500)


def inputs_for(windows: Windows) -> Inputs:
    layout = windows.layout
    return Inputs(context=layout.context, horizon=layout.horizon, lead=layout.lead, channels=windows.blocks[0].values.shape[2])


def firsts(batches: Any) -> list[list[int]]:
    """Of each batch, the first value of each window that weighs something."""
    return [
        np.asarray(given["context"])[np.asarray(weight)[:, 0, 0] == 1, 0, 0].astype(int).tolist() for given, _, weight in batches
    ]


small = st.integers(1, 9)


@given(windows=counts, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000))
def test_an_epochs_order_is_a_permutation_and_repeats(windows: int, seed: int, epoch: int) -> None:
    first = order(windows, seed, epoch)
    assert sorted(first) == list(range(windows))
    np.testing.assert_array_equal(first, order(windows, seed, epoch))


def test_epochs_and_seeds_differ_in_their_order() -> None:
    orders = {order(100, seed, epoch).tobytes() for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


@given(windows=counts, step=st.integers(1, 600), ranks=small)
def test_all_ranks_together_take_every_window_exactly_once(windows: int, step: int, ranks: int) -> None:
    shares = [Share(windows, step, rank, ranks) for rank in range(ranks)]
    taken = [np.arange(*share.places(number)) for share in shares for number in range(share.steps)]
    np.testing.assert_array_equal(np.sort(np.concatenate(taken)), np.arange(windows))


@given(windows=counts, step=st.integers(1, 600), ranks=small)
def test_every_rank_has_as_many_steps_and_no_batch_exceeds_its_size(windows: int, step: int, ranks: int) -> None:
    shares = [Share(windows, step, rank, ranks) for rank in range(ranks)]
    assert len({(share.steps, share.size) for share in shares}) == 1
    lengths = [stop - start for share in shares for start, stop in map(share.places, range(share.steps))]
    assert 0 <= min(lengths) <= max(lengths) <= shares[0].size


@given(windows=counts, step=st.integers(1, 600), ranks=small)
def test_a_steps_windows_do_not_depend_on_the_number_of_ranks(windows: int, step: int, ranks: int) -> None:
    alone = Share(windows, step, 0, 1)
    shares = [Share(windows, step, rank, ranks) for rank in range(ranks)]
    for number in range(alone.steps):
        together = np.concatenate([np.arange(*share.places(number)) for share in shares])
        np.testing.assert_array_equal(together, np.arange(*alone.places(number)))


def test_filled_targets_and_padding_weigh_nothing(over: Callable[..., Windows]) -> None:
    values, observed = np.arange(20.0)[:, None], np.ones((20, 1))
    observed[9] = 0
    windows = over(values, 4, 2, observed)
    given, target, weight = take(windows, inputs_for(windows), Rows.of(np.array([3, 5]), 4))
    context = given["context"]
    assert (context.shape, target.shape, weight.shape) == ((4, 4, 1), (4, 2, 1), (4, 2, 1))
    np.testing.assert_array_equal(context[:2, :, 0], [[3, 4, 5, 6], [5, 6, 7, 8]])
    np.testing.assert_array_equal(weight[..., 0], [[1, 1], [0, 1], [0, 0], [0, 0]])


def test_targets_come_after_the_lead(over: Callable[..., Windows]) -> None:
    windows = over(np.arange(20.0)[:, None], 4, 2, lead=5)
    given, target, _ = take(windows, inputs_for(windows), Rows.of(np.array([0, 9]), 2))
    np.testing.assert_array_equal(given["context"][..., 0], [[0, 1, 2, 3], [9, 10, 11, 12]])
    np.testing.assert_array_equal(target[..., 0], [[9, 10], [18, 19]])


def test_the_feeds_batches_are_the_orders_windows_from_any_step_on(over: Callable[..., Windows]) -> None:
    windows = over(np.arange(12.0)[:, None], 2, 1)
    share = Share(windows=10, step=4, rank=1, ranks=2)
    for epoch, first in ((0, 0), (1, 0), (1, 2)):
        batches = training_feed(windows, inputs_for(windows), Epoch(share, (3, 7), epoch), first)
        orders = [order(10, seed, epoch) for seed in (3, 7)]
        expected = [
            [int(number) for numbers in orders for number in numbers[slice(*share.places(step))]] for step in range(first, 3)
        ]
        assert firsts(batches) == expected


@given(windows=st.integers(1, 40), step=st.integers(1, 50), ranks=small, members=st.integers(1, 3), mixing=st.booleans())
def test_every_member_takes_every_window_once_as_if_it_were_alone(
    windows: int, step: int, ranks: int, members: int, mixing: bool
) -> None:
    shares = [Share(windows, step, rank, ranks) for rank in range(ranks)]
    seeds = tuple(range(5, 5 + members))
    together = [Epoch(share, seeds, 2, mixing) for share in shares]
    taken: list[list[int]] = [[] for _ in seeds]
    for number in range(shares[0].steps):
        for share, epoch in zip(shares, together, strict=True):
            rows = epoch.rows(number)
            for member, seed in enumerate(seeds):
                alone = Epoch(share, (seed,), 2, mixing).rows(number)
                own = slice(member * share.size, (member + 1) * share.size)
                for ours, theirs in zip(rows, alone, strict=True):
                    np.testing.assert_array_equal(None if ours is None else ours[own], theirs)
                taken[member] += alone.windows[alone.counts].tolist()
    assert all(sorted(numbers) == list(range(windows)) for numbers in taken)


def test_mixed_windows_are_the_same_for_any_number_of_ranks_and_keep_what_is_measured(over: Callable[..., Windows]) -> None:
    values, observed = np.random.default_rng(0).normal(size=(30, 1)), np.ones((30, 1))
    observed[20] = 0
    windows = over(values, 4, 2, observed)

    def taken(ranks: int, seed: int = 3) -> list[np.ndarray]:
        """Of an epoch: contexts, targets and weights, padding left out."""
        shares = [Share(25, 10, rank, ranks) for rank in range(ranks)]
        feeds = [training_feed(windows, inputs_for(windows), Epoch(one, (seed,), 1, mixing=True)) for one in shares]
        steps = []
        for number, batches in enumerate(zip(*feeds, strict=True)):
            for share, (inputs, target, weight) in zip(shares, batches, strict=True):
                count = int(np.subtract(*share.places(number)[::-1]))
                steps.append([np.asarray(array)[:count] for array in (inputs["context"], target, weight)])
        return [np.concatenate(parts) for parts in zip(*steps, strict=True)]

    alone = taken(1)
    for ours, theirs in zip(taken(3), alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(alone[0]) == 25
    assert 0 < (alone[2] == 0).mean() < 0.4
    assert not np.array_equal(taken(1, seed=4)[0], alone[0])


def test_a_mixture_of_two_windows_is_a_turn_about_their_last_values(over: Callable[..., Windows]) -> None:
    windows = over(np.random.default_rng(0).normal(size=(30, 2)), 4, 2)
    one, two = windows.batch(np.array([3])), windows.batch(np.array([9]))
    same = mixed(one, two, np.array([0.0]))
    np.testing.assert_allclose(same.target, one.target, atol=1e-6)
    turned = mixed(one, two, np.array([np.pi / 2]))
    np.testing.assert_allclose(turned.context[:, -1], one.context[:, -1], atol=1e-6)
    np.testing.assert_allclose(turned.target - turned.context[:, -1:], two.target - two.context[:, -1:], atol=1e-6)


def test_validation_is_one_pass_in_order(over: Callable[..., Windows]) -> None:
    windows = over(np.arange(12.0)[:, None], 2, 1)
    batches = firsts(validation_feed(windows, inputs_for(windows), Share(10, 4, 0, 1)))
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def feeding() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "feed"]


def test_what_is_prepared_ahead_is_little_and_ends_with_who_takes_it(
    over: Callable[..., Windows], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def make(windows: Windows, inputs: Inputs, rows: Rows) -> tuple[dict[str, Any], float, float]:
        made.append(1)
        return {}, 0.0, 0.0

    monkeypatch.setattr("hindcast.deep.training.feed.take", make)
    windows = over(np.arange(120.0)[:, None], 2, 1)
    batches = training_feed(windows, inputs_for(windows), Epoch(Share(100, 1, 0, 1), (3,), 0))
    next(batches)
    assert len(feeding()) == 1
    batches.close()
    assert not feeding()
    assert len(made) <= 3 * AT_A_TIME  # one lot is taken from, one is ready, and one is in the making


@pytest.mark.parametrize("good", [0, 1, AT_A_TIME, AT_A_TIME + 1])
def test_what_goes_wrong_while_preparing_is_raised_where_it_would_have_been_taken(
    good: int, over: Callable[..., Windows], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(windows: Windows, inputs: Inputs, rows: Rows) -> tuple[dict[str, Any], float, float]:
        if rows.windows[0] == good:
            raise OSError("the disk is gone")
        return {}, 0.0, 0.0

    monkeypatch.setattr("hindcast.deep.training.feed.take", fail)
    windows = over(np.arange(12.0)[:, None], 2, 1)
    batches = validation_feed(windows, inputs_for(windows), Share(10, 1, 0, 1))
    for _ in range(good):
        next(batches)
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert not feeding()
