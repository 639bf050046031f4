"""The identity of an estimator's fit, in its checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from hindcast.classical.checkpoints import FileCheckpoint
from hindcast.classical.hmm.stored import CLASSES
from hindcast.classical.persistence import encoded

if TYPE_CHECKING:
    from hindcast.classical.hmm.data.training import Training
    from hindcast.classical.hmm.estimators.base import Estimator
    from hindcast.classical.hmm.model import HiddenMarkov

# Arguments that do not change the iterations, but when they end, what is printed, or how queries are answered.
ASIDE = {"n_iter", "tol", "tol_of", "n_jobs", "verbose", "algorithm", "implementation", "warm_start"}


def checkpoint_of(
    estimator: Estimator, file: Path, resume: bool, sequences: Training, begin: HiddenMarkov[Any]
) -> FileCheckpoint:
    """The checkpoint of this fit. Its identity: the sequences, the arguments, and the parameters that were set before."""
    assert sequences.digest is not None, "a fit of sequences that have none is refused"
    arguments = {name: value for name, value in estimator.arguments().items() if name not in ASIDE}
    fields = {"s": begin.start, "t": begin.transition}
    fields |= {letter: getattr(begin.emission, name) for letter, name in estimator.LETTERS.items()}
    set_before = {letter: encoded(value) for letter, value in fields.items() if letter not in estimator.begun}
    about = {
        "data": sequences.digest(),
        "estimator": type(estimator).__name__,
        "states": arguments.pop("n_components"),
        "parameters": xxhash.xxh3_128_hexdigest(json.dumps(set_before, sort_keys=True).encode()),
    }
    return FileCheckpoint(file, about | arguments, CLASSES, resume)
