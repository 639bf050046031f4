"""Borders in time and drawn series: no step in two splits, nothing lost to rounding, and the same for who comes later."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hindcast.prep.errors import InputError
from hindcast.prep.grid.grid import Grid
from hindcast.prep.grid.splits import SPLITS, assign, borders
from hindcast.prep.spec import SplitSpec

HOURLY = Grid(0, 3_600_000_000)


def stated(steps: int, **split: object) -> dict[str, tuple[int, int]]:
    return {name: (b.start, b.stop) for name, b in borders(SplitSpec.model_validate(split), HOURLY, steps).items()}


@given(st.integers(1, 10_000), st.lists(st.integers(0, 100), min_size=3, max_size=3).filter(any))
def test_shares_of_the_whole_leave_no_step_over(steps: int, weights: list[int]) -> None:
    shares = [weight / sum(weights) for weight in weights]
    found = stated(steps, train=shares[0], validation=shares[1], test=shares[2])
    assert (found["train"][0], found["test"][1]) == (0, steps)
    assert found["train"][1] == found["validation"][0]
    assert found["validation"][1] == found["test"][0]


def test_steps_times_and_shares_can_be_mixed() -> None:
    assert stated(100, train="1970-01-02T16", validation=10, test=0.5) == {
        "train": (0, 40),
        "validation": (40, 50),
        "test": (50, 100),
    }


def test_an_embargo_is_cut_from_the_beginning_of_the_split_after_it() -> None:
    assert stated(60, train=40, validation=10, test=10, embargo="90min") == {
        "train": (0, 40),
        "validation": (42, 50),
        "test": (52, 60),
    }
    assert stated(60, train=40, validation=0, test=20, embargo=5) == {"train": (0, 40), "validation": (40, 40), "test": (45, 60)}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": 99}, r"split.train: 99 would end at .*60 steps in all"),
        ({"train": 40, "validation": "1970-01-01"}, "split.validation: it would end at .* before it begins"),
        ({"train": 40, "validation": 10, "test": 10, "embargo": 11}, "split.validation: it would end .* before it begins"),
    ],
)
def test_borders_that_cannot_be(split: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stated(60, **split)


names = st.lists(st.text(min_size=1), min_size=1, max_size=40, unique=True)


@given(names, st.integers(0, 5))
def test_drawn_series_are_as_many_as_asked_in_whatever_order_they_come(series: list[str], seed: int) -> None:
    spec = SplitSpec(by="series", train=0.5, validation=0.25, test=0.25, seed=seed)
    found = assign(spec, series)
    assert found == assign(spec, series[::-1])
    counts = {split: sum(found.of(name) == split for name in series) for split in SPLITS}
    assert sum(counts.values()) == len(series)
    assert counts["train"] == round(0.5 * len(series))
    assert counts["train"] + counts["validation"] == round(0.75 * len(series))
    assert found.of("one that came later") in SPLITS


def test_shares_below_one_leave_series_over() -> None:
    found = assign(SplitSpec(by="series", train=0.5, validation=0.0, test=0.0), [f"s{number}" for number in range(10)])
    assert sum(found.of(f"s{number}") is None for number in range(10)) == 5
