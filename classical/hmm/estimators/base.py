"""What all estimators share: the arguments that users of hmmlearn know, and fitting by EM."""

from __future__ import annotations

import json
import logging
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import KW_ONLY, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from classical import em
from classical.hmm.emissions import Emission
from classical.hmm.estimators.asking import Asking
from classical.hmm.fitting import repairs
from classical.hmm.frames import is_frame, with_paths
from classical.hmm.initial import Begin, initialise
from classical.hmm.lanes import Spans
from classical.hmm.model import HiddenMarkov
from classical.hmm.monitor import Monitor, report
from classical.hmm.sequences import Lengths, sequences_of
from classical.hmm.structure import Structure
from classical.hmm.training import Training, training
from classical.online import KAPPA, fit_online
from classical.persistence import encoded
from prep.dataset import SequenceDataset
from prep.errors import InputError
from prep.manifest import Column
from prep.placing import placed_file

log = logging.getLogger(__name__)
FORMAT = "hindcast-hmm"


@dataclass(eq=False)
class Estimator(Asking):
    """What all families share.

    n_components    hidden states
    startprob_prior, transmat_prior     concentrations of Dirichlet priors, 1 or more; 1, the default, is none
    algorithm       of `decode`: "viterbi" or "map"
    random_state    seed of the clusters that the states begin as, or a RandomState to draw it from
    n_iter, tol     EM stops after `n_iter` iterations, or after one that gains less than `tol` in log-likelihood
    verbose         a line on standard error for every iteration
    params          what `fit` estimates, by letter: "s" startprob_, "t" transmat_, and those of the family; all by default
    init_params     what `fit` initialises, by the same letters; the rest must be set. All by default
    implementation  "log" or "scaling", as hmmlearn has them; both mean the same here: scaled, and in logs where that underflows
    n_init          beginnings that are fitted side by side, each pass over the data serving all; the likeliest is kept
    warm_start      `fit` goes on from the parameters that there are
    structure       what is possible: "ergodic", "left-right", or an array (n_components, n_components) with 0 for a transition
                    that is not; what begins as 0 stays 0
    n_jobs          threads that take E-steps; the result does not depend on it
    """

    n_components: int = 1
    _: KW_ONLY
    startprob_prior: float | np.ndarray = 1.0
    transmat_prior: float | np.ndarray = 1.0
    algorithm: str = "viterbi"
    random_state: int | np.random.RandomState | None = None
    n_iter: int = 10
    tol: float = 1e-2
    verbose: bool = False
    params: str | None = None
    init_params: str | None = None
    implementation: str = "log"
    n_init: int = 1
    warm_start: bool = False
    structure: str | np.ndarray = "ergodic"
    n_jobs: int = 1

    # The family's letters, and the fields of the family that they stand for.
    LETTERS: ClassVar[Mapping[str, str]]
    # The attribute that holds each of these fields.
    ATTRIBUTES: ClassVar[Mapping[str, str]]

    def __post_init__(self) -> None:
        for name in ("n_components", "n_iter", "n_init", "n_jobs"):
            self._must_be(name, is_whole(getattr(self, name), 1), "a whole number of at least 1")
        seeded = self.random_state is None or isinstance(self.random_state, np.random.RandomState)
        self._must_be("random_state", seeded or is_whole(self.random_state, 0), "None, a RandomState, or a number of 0 or more")
        self._must_be("algorithm", self.algorithm in ("viterbi", "map"), "'viterbi' or 'map'")
        self._must_be("implementation", self.implementation in ("log", "scaling"), "'log' or 'scaling'")
        for name in ("params", "init_params"):
            known = {"s", "t", *self.LETTERS}
            self._must_be(name, set(getattr(self, name) or "") <= known, f"letters of {''.join(sorted(known))!r}")
        for name in ("startprob_prior", "transmat_prior"):
            prior = numbers(getattr(self, name), name)
            self._must_be(name, bool(np.all(prior >= 1)), "concentrations of 1 (no prior) or more")
        self._structure()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, as scikit-learn asks for them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def set_params(self, **values: Any) -> Self:
        """Other arguments. Raises InputError for one that there is not."""
        before = self.get_params()
        unknown = sorted(values.keys() - before.keys())
        if unknown:
            raise InputError(f"{type(self).__name__} has no argument {unknown[0]!r}")
        type(self)(**(before | values))
        vars(self).update(values)
        self.__post_init__()
        return self

    @property
    def parameters_(self) -> HiddenMarkov[Any]:
        """The parameters as one immutable value, checked."""
        return self._model(None)

    @property
    def converged_(self) -> bool:
        return self.monitor_.converged

    def fit(self, X: Any, lengths: Lengths = None, weights: Any = None, *, spark: Any = None, column: str | None = None) -> Self:
        """Maximum likelihood by EM, or the most probable parameters where there are priors.

        X           readings, as everywhere; or a `SequenceDataset`, of which the training split is fitted, as it is scaled; or a
                    Spark DataFrame with an array a row, of numbers (one channel) or of arrays (steps of channels)
        weights     (sequences,): how often each sequence counts; of a DataFrame, the name of a column
        spark       a session, for a dataset: tasks then read it where it lies
        column      of a DataFrame; by default the only one that holds sequences

        `monitor_` says how it went and why it ended; what had to be repaired (a variance at the floor, an empty state, a sequence
        without steps) is also logged as a warning.

        Raises InputError for readings that cannot be used, `em.FallingLikelihoodError` where the likelihood falls. The parameters
        are then those from before.
        """
        if isinstance(X, SequenceDataset):
            self._must_suit(X)
        with training(X, lengths, weights, check=self._check, spark=spark, column=column, threads=self.n_jobs) as given:
            try:
                fits = em.fit_several(
                    self.beginnings(given), given.data, iterations=self.n_iter, tolerance=self.tol, tolerance_of="total",
                    on_iteration=report if self.verbose else None, **given.how,
                )  # fmt: skip
            except em.FallingLikelihoodError as error:
                self.monitor_ = Monitor(error.history.log_likelihood, self.tol, self.n_iter, error.history.stopped_by)
                raise
        self.settle(fits, given.notes)
        return self

    def fit_online(
        self, X: Any, lengths: Lengths = None, weights: Any = None, *, batches: int = 100, kappa: float = KAPPA, spark: Any = None
    ) -> Self:
        """Online EM: one pass over data too large to visit many times (`classical.online`). `n_iter` and `tol` do not matter.

        X           readings, or a `SequenceDataset`, as `fit` takes them
        batches     mini-batches, at most as many as there are sequences, or row groups of a dataset
        kappa       how soon the first batches are forgotten

        `online_history_` holds the log-likelihood of a step in each batch. Raises InputError as `fit` does.
        """
        if is_frame(X):
            raise InputError("X: online EM takes the parts of the data one by one: give arrays or a SequenceDataset")
        if isinstance(X, SequenceDataset):
            self._must_suit(X)
        with training(X, lengths, weights, check=self._check, spark=spark, threads=self.n_jobs, pieces=batches) as given:
            begin = self.beginnings(given)[0]
            model, history = fit_online(begin, given.data, batches=batches, kappa=kappa, seed=self._seed(), **given.how)
        self.adopt(model.ordered() if self._names_states() else model)
        self.online_history_ = history
        for note in (*given.notes, *repairs(model)):
            log.warning("%s", note)
        return self

    def transform(self, frame: Any, column: str | None = None, output: str = "states") -> Any:
        """A Spark DataFrame with another column: the likeliest path of each row's sequence, -1 where a step is conditioned on."""
        if not is_frame(frame):
            raise InputError(f"transform: found a {type(frame).__name__}, expected a Spark DataFrame; `predict` takes arrays")
        return with_paths(frame, self.parameters_, column, output, self._known)

    # The kinds of a dataset's channels that the family can emit.
    KINDS: ClassVar[frozenset[str]]

    def adopt(self, model: HiddenMarkov[Any]) -> Self:
        """Takes all parameters from a model of the same family, in place of a fit; what an earlier fit said is forgotten."""
        for said in ("monitor_", "history_", "restarts_", "online_history_"):
            vars(self).pop(said, None)
        self._adopt(model, {"s", "t", *self.LETTERS})
        return self

    def save(self, file: str | Path) -> None:
        """Writes arguments, parameters and monitor as JSON, to the last digit; `classical.hmm.load` reads them again."""
        stored = {
            "format": FORMAT,
            "version": 1,
            "estimator": type(self).__name__,
            "arguments": {
                name: None if isinstance(value, np.random.RandomState) else encoded(value)
                for name, value in self.get_params().items()
            },
            "parameters": encoded(self.parameters_),
            "monitor": encoded(getattr(self, "monitor_", None)),
        }
        with placed_file(Path(file)) as staged:
            staged.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")

    @abstractmethod
    def _begin(self, highest: np.ndarray) -> Begin:
        """How the family begins, of readings of which `highest` (channels,) are the largest."""

    @abstractmethod
    def _emission(self, like: Any) -> Any:
        """The family with the parameters that the attributes hold, and with the restraints (the floor) of another, if any."""

    @abstractmethod
    def _check(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        """Where readings (steps, channels) are such as the family can emit, and what these are, in words."""

    def _known(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        """As `_check`, of readings that are asked about: such as the fitted parameters know."""
        return self._check(readings)

    def _take(self, emission: Any, names: set[str]) -> None:
        """Takes these fields of the family as attributes."""
        for name in names:
            setattr(self, self.ATTRIBUTES[name], getattr(emission, name))

    @property
    def _order(self) -> int:
        """How many earlier steps a density is conditioned on."""
        return 0

    def _letters(self, asked: str | None) -> set[str]:
        return {"s", "t", *self.LETTERS} if asked is None else set(asked)

    def _array(self, name: str) -> np.ndarray:
        return numbers(getattr(self, self.ATTRIBUTES[name]), self.ATTRIBUTES[name])

    def _model(self, like: Emission | None) -> HiddenMarkov[Any]:
        missing = [name for name in ("startprob_", "transmat_", *self.ATTRIBUTES.values()) if not hasattr(self, name)]
        if missing:
            raise InputError(f"{missing[0]} is not set: fit the model first, or set its parameters")
        K = self.n_components
        try:
            emission = self._emission(like)
            found = emission.states
        except (IndexError, ValueError) as error:
            shapes = {name: np.shape(getattr(self, name)) for name in self.ATTRIBUTES.values()}
            raise InputError(f"the shapes of the parameters do not fit each other: found {shapes} ({error})") from None
        if found != K:
            raise InputError(f"expected parameters of {K} states, found {found}")
        estimated = self._letters(self.params)
        kept = frozenset(name for letter, name in self.LETTERS.items() if letter not in estimated)
        model = HiddenMarkov(
            numbers(self.startprob_, "startprob_"),
            numbers(self.transmat_, "transmat_"),
            replace(emission if like is None or emission.fault else emission.above_floor(), fixed=kept),
            fixed=frozenset(name for letter, name in (("s", "start"), ("t", "transition")) if letter not in estimated),
            start_prior=_prior(self.startprob_prior, (K,), "startprob_prior"),
            transition_prior=_prior(self.transmat_prior, (K, K), "transmat_prior"),
        )
        if model.fault:
            raise InputError(model.fault)
        return model

    def _must_suit(self, dataset: SequenceDataset) -> None:
        self.must_emit(dataset.manifest.channels, dataset.location)

    def must_emit(self, channels: Iterable[Column], where: str) -> None:
        """Raises InputError for a channel of a dataset that is not of a kind that the family emits."""
        for channel in channels:
            if channel.kind not in self.KINDS:
                raise InputError(
                    f"{where}: channel {channel.name!r} is a {channel.kind}, and {type(self).__name__} emits "
                    f"{' or '.join(sorted(self.KINDS))} channels: choose another family, or prepare the dataset with others"
                )

    def beginnings(self, given: Training) -> list[HiddenMarkov[Any]]:
        """One for each of `n_init`, of which the first is the one that there would be alone."""
        seed = self._seed()
        letters = set() if self.warm_start and hasattr(self, "startprob_") else self._letters(self.init_params)
        begins = []
        for number in range(self.n_init):
            seeds = seed if number == 0 else [seed, number]
            begin = initialise(
                self._begin(given.highest), given.sample, self.n_components,
                order=self._order, seed=seeds, structure=self._structure(),
            )  # fmt: skip
            # A copy: where the fit fails, the parameters are those from before.
            begun = copy(self)
            begun._adopt(begin, letters)
            begins.append(begun._model(begin.emission))
        return begins

    def settle(self, fits: list[tuple[HiddenMarkov[Any], em.History]], notes: list[str]) -> None:
        """Keeps the most probable of the fitted models. States that the fit itself has named are put in order."""
        model, self.history_ = max(fits, key=lambda fit: fit[1].log_likelihood[-1] + fit[1].log_prior[-1])
        self.restarts_ = tuple(history for _, history in fits)
        if self._names_states():
            model = model.ordered()
        notes = [*notes, *repairs(model)]
        for note in notes:
            log.warning("%s", note)
        self.monitor_ = Monitor(self.history_.log_likelihood, self.tol, self.n_iter, self.history_.stopped_by, tuple(notes))
        self._adopt(model, {"s", "t", *self.LETTERS})

    def _names_states(self) -> bool:
        """Whether nothing that the user gave says which state is which."""
        everything = {"s", "t", *self.LETTERS} == self._letters(self.init_params)
        priors = [
            value for name, value in self.get_params().items() if name.endswith(("_prior", "_weight")) and value is not None
        ]
        ergodic = isinstance(self.structure, str) and self.structure == "ergodic"
        return everything and ergodic and not self.warm_start and not any(np.ndim(prior) for prior in priors)

    def _seed(self) -> int:
        given = self.random_state
        if given is None:
            return int(np.random.SeedSequence().generate_state(1)[0])
        return int(given.randint(2**31)) if isinstance(given, np.random.RandomState) else int(given)

    def _structure(self) -> Structure:
        return Structure.of(self.structure, self.n_components)

    def _adopt(self, model: HiddenMarkov[Any], letters: set[str]) -> None:
        if "s" in letters:
            self.startprob_ = model.start
        if "t" in letters:
            self.transmat_ = model.transition
        self._take(model.emission, {name for letter, name in self.LETTERS.items() if letter in letters})

    def _spans(self, X: Any, lengths: Lengths, weights: Any = None) -> Spans:
        return sequences_of(X, lengths, weights, check=self._known)

    def _must_be(self, name: str, fine: bool, expected: str) -> None:
        if not fine:
            raise InputError(f"{name}: found {getattr(self, name)!r}, expected {expected}")


def is_whole(value: Any, least: int) -> bool:
    """Whether it is a whole number of at least so much."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def numbers(values: Any, name: str) -> np.ndarray:
    """As float64. Raises InputError for what is not an array of numbers."""
    try:
        return np.asarray(values, np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers, found {values!r} ({error})") from None


def number_or_array(given: float | np.ndarray, name: str = "prior") -> float | np.ndarray:
    """Of a prior: one number for all, or an array, which a file holds as a list."""
    array = numbers(given, name)
    return array if array.ndim else float(array)


def _prior(given: float | np.ndarray, shape: tuple[int, ...], name: str) -> float | np.ndarray:
    prior = number_or_array(given, name)
    if isinstance(prior, np.ndarray) and prior.shape != shape:
        raise InputError(f"{name}: found shape {prior.shape}, expected one number or {shape}")
    return prior
