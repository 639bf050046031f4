from __future__ import annotations

import numpy as np
import pytest

from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.rates import rate

BASE = LstmSettings(learning_rate=0.1, epochs=10, schedule="constant")


def rates(ranks: int = 1, **changed: object) -> np.ndarray:
    settings = BASE.model_copy(update=changed)
    return np.array([rate(settings, step, 5, ranks) for step in range(50)])


def test_more_ranks_with_batches_of_their_own_warm_up_to_a_rate_as_many_times_higher() -> None:
    found = rates(4, batch_of="rank", warmup=2.0)
    assert (np.diff(found[:10]) > 0).all()
    np.testing.assert_allclose(found[[0, 9, 10, 49]], [0.13, 0.4, 0.4, 0.4])
    np.testing.assert_allclose(rates(4), 0.1)


def test_a_warm_up_begins_near_0() -> None:
    np.testing.assert_allclose(rates(warmup=1.0)[:6], [0.02, 0.04, 0.06, 0.08, 0.1, 0.1])


@pytest.mark.parametrize("warmup", [0.0, 1.5])
def test_a_cosine_ends_near_0_and_never_rises_after_the_warm_up(warmup: float) -> None:
    found = rates(schedule="cosine", warmup=warmup)[8:]
    assert (np.diff(found) < 0).all()
    assert 0 < found[-1] < 0.001


def test_halving_halves_after_every_epoch() -> None:
    np.testing.assert_allclose(rates(schedule="halving")[[0, 4, 5, 10]], [0.1, 0.1, 0.05, 0.025])
