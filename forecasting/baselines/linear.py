"""Closed-form linear regression: the baseline, and the line that an LSTM may go beside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from hindcast.forecasting.baselines.unmeasured import Holes, unmeasured
from hindcast.forecasting.forecast import Forecast
from hindcast.forecasting.inputs import must_be_numbers
from hindcast.prep.dataset.blocks import Block
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.dataset.windows import Given, cut

PIECE = 8192
PIECE_BYTES = 1 << 29
# Of the largest: what is smaller is taken for nothing, and of several solutions the smallest for the right one.
LEAST_SINGULAR = 1e-10


@dataclass(frozen=True)
class Linear:
    """Each step of the horizon is a linear function of the context, the last value subtracted; channels share the weights.

    weights   (context + 1, horizon) float32: the last row is the intercept
    unfitted  steps of the horizon, from 0, that no window measured: they repeat the last value
    """

    weights: np.ndarray
    unfitted: tuple[int, ...] = ()

    @property
    def parameters(self) -> int:
        """How many weights were estimated."""
        return len(self.weights) * (self.weights.shape[1] - len(self.unfitted))

    def forecast(self, given: Given) -> Forecast:
        last = given.context[:, -1:]
        past = np.moveaxis(given.context - last, 1, 2)
        return Forecast(np.moveaxis(past @ self.weights[:-1] + self.weights[-1], 2, 1) + last)


def fit_linear(dataset: SequenceDataset) -> Linear:
    """`least_squares` over every window and channel of the training split, a row group at a time; those with holes are kept.

    Raises InputError where a channel is a category.
    """
    must_be_numbers(dataset)
    return least_squares(dataset.blocks("train"), dataset.layout)


def least_squares(blocks: Iterable[Block], layout: Layout, ridge: float = 0.0) -> Linear:
    """Regresses each step of the horizon on the windows and channels in which it was measured, whatever else was filled.

    A context counts as it stands, filled values included, and so does its last value, which is subtracted: what is forecast later
    are contexts with the same kind of holes, filled by the same rule. `ridge`, times the number of a step's windows, is added to
    the diagonal but for the intercept's (Hoerl and Kennard 1970); without it, the smallest of several solutions is taken.

    Where nothing was filled, all steps have one Gram matrix; each of the others has its own, which `unmeasured` bounds, and is
    solved by itself.
    """
    total, holes = NormalEquations.zero(layout), list[Holes]()
    for block in blocks:
        for piece in normal_equations(block, layout):
            total = total + piece
        block_holes = Holes.of(block, layout)
        if len(block_holes.row):
            holes.append(block_holes)
    gram, moment = total.gram, total.moment
    weights, measured = np.zeros_like(moment), np.full(layout.horizon, gram[-1, -1])
    for step, missing in unmeasured(holes, layout):
        measured[step] -= missing[-1, -1]
        if measured[step]:
            weights[:, step] = _solved(_ridged(gram - missing, ridge), moment[:, step])
    whole = measured == gram[-1, -1]
    if whole.any() and gram[-1, -1]:
        weights[:, whole] = _smallest(_ridged(gram, ridge), moment[:, whole])
    return Linear(weights.astype(np.float32), tuple(np.flatnonzero(measured == 0).tolist()))


@dataclass(frozen=True)
class NormalEquations:
    """Additive statistics of least squares.

    gram    (context + 1, context + 1): of all windows and channels
    moment  (context + 1, horizon): of each step, of those in which it was measured
    """

    gram: np.ndarray
    moment: np.ndarray

    @classmethod
    def zero(cls, layout: Layout) -> NormalEquations:
        width = layout.context + 1
        return cls(np.zeros((width, width)), np.zeros((width, layout.horizon)))

    def __add__(self, other: NormalEquations) -> NormalEquations:
        return NormalEquations(self.gram + other.gram, self.moment + other.moment)


def normal_equations(block: Block, layout: Layout) -> Iterator[NormalEquations]:
    """Normal equations of the windows that start in a block, by a few thousand windows: no more than fit into 512 MB, or one."""
    context, future = layout.context, layout.look_back
    size = max(1, min(PIECE, PIECE_BYTES // (8 * layout.window * block.values.shape[2])))
    for row in range(len(block.windows)):
        offsets = np.arange(block.windows[row]) * layout.stride
        for first_steps in np.split(offsets, range(size, len(offsets), size)):
            values, observed = (
                cut(array[row : row + 1], layout.window)[0, first_steps] for array in (block.values, block.observed)
            )
            windows = np.moveaxis(values, 2, 1).reshape(-1, layout.window).astype(np.float64)
            measured = np.moveaxis(observed[:, future:], 2, 1).reshape(-1, layout.horizon) > 0
            relative = windows - windows[:, context - 1 : context]
            past = np.concatenate([relative[:, :context], np.ones((len(windows), 1))], axis=1)
            yield NormalEquations(past.T @ past, past.T @ np.where(measured, relative[:, future:], 0.0))


def _ridged(gram: np.ndarray, ridge: float) -> np.ndarray:
    penalty = np.full(len(gram), ridge * gram[-1, -1])
    penalty[-1] = 0.0
    return gram + np.diag(penalty)


def _solved(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """As `_smallest`, and much sooner where there is one solution alone."""
    weights, used = np.zeros_like(moment), gram.diagonal() > 0
    system = gram[np.ix_(used, used)]
    try:
        factor = np.linalg.cholesky(system)
    except np.linalg.LinAlgError:
        return _smallest(gram, moment)
    condition, _ = lapack.dpocon(factor, np.abs(system).sum(axis=0).max(), uplo="L")
    if condition < LEAST_SINGULAR:
        return _smallest(gram, moment)
    weights[used] = lapack.dpotrs(factor, moment[used], lower=1)[0]
    return weights


def _smallest(gram: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """The least-squares weights; of several, the smallest."""
    weights: np.ndarray = np.linalg.lstsq(gram, moment, rcond=LEAST_SINGULAR)[0]
    return weights
