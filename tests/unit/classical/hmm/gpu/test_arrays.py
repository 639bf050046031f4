"""Arrays are fitted on a GPU as they are on processors. Where there is no GPU, numba simulates one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hindcast.classical import hmm
from hindcast.classical.hmm.data.training import training
from hindcast.classical.hmm.gpu import e_step, placing
from hindcast.prep.errors import InputError

X = np.random.default_rng(0).normal(size=(12, 2)) + np.repeat([[0.0], [4.0]], 6, axis=0)
X[3, 1] = np.nan
LENGTHS = [5, 1, 6]


def fitted(make: Any, **how: Any) -> Any:
    return make(n_iter=2, tol=-np.inf, random_state=0).fit(X, LENGTHS, [1.0, 2.0, 1.0], **how)


@pytest.mark.parametrize(
    ("make", "kept", "sent"),
    [
        (lambda **how: hmm.GaussianHMM(2, **how), placing.RESIDENT_SHARE, 1),
        (lambda **how: hmm.AutoregressiveHMM(2, 1, **how), -1.0, 1 + 2),  # the simulated one's memory has no end
    ],
    ids=["kept", "sent each time"],
)
def test_gpus_fit_arrays_as_processors_do(make: Any, kept: float, sent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    laid: list[int] = []
    lay_out = e_step.lay_out
    monkeypatch.setattr(placing, "RESIDENT_SHARE", kept)
    monkeypatch.setattr(e_step, "lay_out", lambda spans, order: laid.append(1) or lay_out(spans, order))
    found, expected = fitted(make, gpus=True), fitted(make)
    with training(X, LENGTHS, check=make()._check) as given:
        assert len(laid) == sent * len(given.data)
    np.testing.assert_allclose(found.monitor_.history, expected.monitor_.history, rtol=1e-12)
    np.testing.assert_allclose(found.transmat_, expected.transmat_, rtol=1e-9)
    assert found.monitor_.notes == ()
    assert not e_step._memory, "the lattice is given back"


def test_what_gpus_cannot_take_is_noted_and_a_missing_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    note = fitted(lambda **how: hmm.StudentHMM(2, **how), gpus=True).monitor_.notes[0]
    assert "taken by processors: GPUs have kernels for" in note
    monkeypatch.setattr(placing.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="a GPU was asked for, and numba sees none here"):
        fitted(lambda **how: hmm.GaussianHMM(2, **how), gpus=True)
