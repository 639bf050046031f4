"""The base of all estimators: the arguments that users of hmmlearn know, and fitting by EM."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from hindcast.classical import em
from hindcast.classical.hmm.data.frames import is_frame, with_paths
from hindcast.classical.hmm.data.sequences import Lengths, sequences_of
from hindcast.classical.hmm.data.training import ReadingsSummary, Training, training
from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.estimators.arguments import is_whole, numbers, prior_of
from hindcast.classical.hmm.estimators.card import card_of, forecaster_of
from hindcast.classical.hmm.estimators.checkpoint import checkpoint_of
from hindcast.classical.hmm.estimators.queries import Queries
from hindcast.classical.hmm.forecast import HmmForecaster
from hindcast.classical.hmm.initial import Begin, initialise
from hindcast.classical.hmm.kernels.lanes import Spans
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.classical.hmm.monitor import Monitor, report
from hindcast.classical.hmm.part import HmmPart
from hindcast.classical.hmm.saving import save
from hindcast.classical.hmm.structure import Structure
from hindcast.classical.online import KAPPA, fit_online
from hindcast.classical.persistence import encoded
from hindcast.forecasting.card import Card
from hindcast.prep.dataset.manifest import Column
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Estimator(Queries):
    """The base of the estimators of all families.

    n_components    hidden states
    startprob_prior, transmat_prior     concentrations of Dirichlet priors, 1 or more; 1, the default, is none
    algorithm       of `decode`: "viterbi" or "map"
    random_state    seed of the clusters that the states begin as, or a RandomState to draw it from
    n_iter, tol     EM stops after `n_iter` iterations, or after one that gains less than `tol` in log-likelihood
    tol_of          "total": `tol` is meant for all steps together, as hmmlearn has it; "step": for each
    verbose         a line on standard error for every iteration
    params          what `fit` estimates, by letter: "s" startprob_, "t" transmat_, and those of the family; all by default
    init_params     what `fit` initialises, by the same letters; the rest must be set. All by default
    implementation  "log" or "scaling", as hmmlearn has them; both mean the same here: scaled, and in logs where that underflows
    n_init          beginnings that are fitted side by side, each pass over the data serving all; the most probable is kept: the
                    likeliest, where there are no priors
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
    tol_of: Literal["total", "step"] = "total"
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
        self._must_be("tol_of", self.tol_of in ("total", "step"), "'total' or 'step'")
        self._must_be("algorithm", self.algorithm in ("viterbi", "map"), "'viterbi' or 'map'")
        self._must_be("implementation", self.implementation in ("log", "scaling"), "'log' or 'scaling'")
        for name in ("params", "init_params"):
            letters = {"s", "t", *self.LETTERS}
            self._must_be(name, set(getattr(self, name) or "") <= letters, f"letters of {''.join(sorted(letters))!r}")
        for name in ("startprob_prior", "transmat_prior"):
            prior = numbers(getattr(self, name), name)
            self._must_be(name, bool(np.all(prior >= 1)), "concentrations of 1 (no prior) or more")
        self._structure()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor, as scikit-learn asks for them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def set_params(self, **values: Any) -> Self:
        """Sets arguments of the constructor. Raises InputError for an unknown or an invalid one."""
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

    def fit(
        self,
        X: Any,
        lengths: Lengths = None,
        weights: Any = None,
        *,
        spark: Any = None,
        partitions: int | None = None,
        column: str | None = None,
        gpus: bool = False,
        checkpoint: str | Path | None = None,
        resume: bool = False,
        on_iteration: em.OnIteration | None = None,
    ) -> Self:
        """Maximum likelihood by EM, or the most probable parameters where there are priors.

        X           readings, as everywhere; or a `SequenceDataset`, of which the training split is fitted, as it is scaled; or a
                    Spark DataFrame with an array a row, of numbers (one channel) or of arrays (steps of channels)
        weights     (sequences,): how often each sequence counts; of a DataFrame, the name of a column
        spark       a session, for a dataset: tasks then read it where it lies, in `partitions` (default: as many as run at once)
        column      of a DataFrame; by default the only one that holds sequences
        gpus        GPUs take the E-steps, of Spark's executors or of this machine, if there are kernels for the model
        checkpoint  a file that the fit is saved in every few iterations; it stays there until somebody removes it
        resume      goes on from that file
        on_iteration    is told the iteration and the log-likelihood, of the likeliest restart that still goes on

        `monitor_` says how it went and why it ended; what had to be repaired (a variance at the floor, an empty state, a sequence
        without steps) is also logged as a warning.

        Raises InputError for readings that cannot be used, a checkpoint of another fit, and where no GPU is found though they
        were asked for; `em.FallingLikelihoodError` where the likelihood falls. The parameters are then those from before.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        if isinstance(X, SequenceDataset):
            self._must_suit(X)
        if resume and checkpoint is None:
            raise InputError("resume: there is nothing to go on from: name the checkpoint of the fit")
        if checkpoint is not None and is_frame(X):
            raise InputError(
                "checkpoint: rows of a DataFrame may come in another order and cannot be told from others: fit without, or "
                "prepare a dataset of them"
            )
        how = {"spark": spark, "partitions": partitions, "column": column, "threads": self.n_jobs}
        with training(X, lengths, weights, check=self._check, **how) as sequences:
            begins = self.beginnings(sequences)
            saved = None if checkpoint is None else checkpoint_of(self, Path(checkpoint), resume, sequences, begins[0])
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu + sequences.cpu_seconds
            try:
                with sequences.placed(begins[0], gpus) as (data, options):
                    fits = em.fit_several(
                        begins, data, iterations=self.n_iter, tolerance=self.tol, tolerance_of=self.tol_of,
                        checkpoint=saved, on_iteration=self._report(on_iteration), **options,
                    )  # fmt: skip
            except em.FallingLikelihoodError as error:
                self.monitor_ = Monitor(error.history.log_likelihood, self.tol, self.n_iter, error.history.stopped_by)
                raise
        self.settle(fits, sequences, wall, cpu)
        return self

    def fit_online(
        self, X: Any, lengths: Lengths = None, weights: Any = None, *, batches: int = 100, kappa: float = KAPPA, spark: Any = None
    ) -> Self:
        """Online EM: one pass over data too large to visit many times (classical/online.py). `n_iter` and `tol` do not matter.

        X           readings, or a `SequenceDataset`, as `fit` takes them
        batches     mini-batches, at most as many as there are sequences, or row groups of a dataset
        kappa       how soon the first batches are forgotten

        `online_history_` holds the log-likelihood of a step in each batch. Raises InputError as `fit` does.
        """
        if is_frame(X):
            raise InputError("X: online EM takes the parts of the data one by one: give arrays or a SequenceDataset")
        if isinstance(X, SequenceDataset):
            self._must_suit(X)
        with training(X, lengths, weights, check=self._check, spark=spark, threads=self.n_jobs, pieces=batches) as sequences:
            begin = self.beginnings(sequences)[0]
            model, history = fit_online(
                begin, sequences.data, batches=batches, kappa=kappa, seed=self._seed(), **sequences.options
            )
        self.adopt(model.ordered() if self._names_states() else model)
        self.online_history_, self.fitted_on_ = history, sequences.origin
        for repair in (*sequences.repairs, *model.repairs):
            log.warning("%s", repair)
        return self

    def transform(self, frame: Any, column: str | None = None, output: str = "states") -> Any:
        """A Spark DataFrame with another column: the likeliest path of each row's sequence, -1 where a step is conditioned on."""
        if not is_frame(frame):
            raise InputError(f"transform: found a {type(frame).__name__}, expected a Spark DataFrame; `predict` takes arrays")
        return with_paths(frame, self.parameters_, column, output, self._check_query)

    # The kinds of a dataset's channels that the family can emit.
    KINDS: ClassVar[frozenset[str]]

    def adopt(self, model: HiddenMarkov[Any]) -> Self:
        """Takes all parameters from a model of the same family, in place of a fit. The results of an earlier fit are deleted."""
        for attribute in ("monitor_", "history_", "restarts_", "online_history_", "fitted_on_"):
            vars(self).pop(attribute, None)
        self._adopt(model, {"s", "t", *self.LETTERS})
        return self

    @property
    def cannot_forecast(self) -> str | None:
        """The reason why the model cannot forecast numbers, in words; None where it can."""
        return None

    def forecaster(self, dataset: SequenceDataset, scaled: bool = False) -> HmmForecaster:
        """The model as a forecaster of the windows of a dataset, with a card, as a comparison on it needs one.

        dataset     that the model was fitted on, or one of the same channels, step and scaling, with any windows
        scaled      whether arrays that the model was fitted on were scaled as the readings of the dataset are

        Raises InputError for another dataset, where the scaling of the fitted readings is unknown, and where the model cannot
        forecast numbers.
        """
        return forecaster_of(self, dataset, scaled)

    @property
    def model(self) -> HiddenMarkov[Any]:
        """`parameters_`, as a forecaster calls them."""
        return self.parameters_

    @property
    def card(self) -> Card[HmmPart]:
        """The card of the model: its arguments and data, the course of the fit, and its cost."""
        return card_of(self, getattr(self, "fitted_on_", None))

    def save(self, folder: str | Path, overwrite: bool = False) -> None:
        """Writes a model's folder, as `hindcast fit hmm` does: `hindcast.classical.hmm.load` reads it again, to the last digit.

        Raises InputError where the folder is taken; with `overwrite`, where it is taken by anything but a model.
        """
        save(self, folder, overwrite)

    def arguments(self) -> dict[str, Any]:
        """The arguments of the constructor, as JSON has them; a RandomState becomes None."""
        arguments = self.get_params()
        seeds = {name: None for name, value in arguments.items() if isinstance(value, np.random.RandomState)}
        return {name: encoded(value) for name, value in (arguments | seeds).items()}

    @abstractmethod
    def _begin(self, summary: ReadingsSummary) -> Begin:
        """How the family begins, of readings of which this is known."""

    @abstractmethod
    def _emission(self, like: Any) -> Any:
        """The family with the parameters that the attributes hold, and with the restraints (the floor) of another, if any."""

    @abstractmethod
    def _check(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
        """Where readings (steps, channels) are such as the family can emit, and what these are, in words."""

    def _check_query(self, readings: np.ndarray) -> tuple[np.ndarray, str]:
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

    def _letters(self, letters: str | None) -> set[str]:
        return {"s", "t", *self.LETTERS} if letters is None else set(letters)

    def _array(self, name: str) -> np.ndarray:
        return numbers(getattr(self, self.ATTRIBUTES[name]), self.ATTRIBUTES[name])

    def _model(self, like: Emission | None) -> HiddenMarkov[Any]:
        missing = [name for name in ("startprob_", "transmat_", *self.ATTRIBUTES.values()) if not hasattr(self, name)]
        if missing:
            raise InputError(f"{missing[0]} is not set: fit the model first, or set its parameters")
        K = self.n_components
        try:
            emission = self._emission(like)
            states = emission.states
        except (IndexError, ValueError) as error:
            shapes = {name: np.shape(getattr(self, name)) for name in self.ATTRIBUTES.values()}
            raise InputError(f"the shapes of the parameters do not fit each other: found {shapes} ({error})") from None
        if states != K:
            raise InputError(f"expected parameters of {K} states, found {states}")
        estimated = self._letters(self.params)
        fixed = frozenset(name for letter, name in self.LETTERS.items() if letter not in estimated)
        model = HiddenMarkov(
            numbers(self.startprob_, "startprob_"),
            numbers(self.transmat_, "transmat_"),
            replace(emission if like is None or emission.fault else emission.above_floor(), fixed=fixed),
            fixed=frozenset(name for letter, name in (("s", "start"), ("t", "transition")) if letter not in estimated),
            start_prior=prior_of(self.startprob_prior, (K,), "startprob_prior"),
            transition_prior=prior_of(self.transmat_prior, (K, K), "transmat_prior"),
        )
        if model.fault:
            raise InputError(model.fault)
        return model

    def _must_suit(self, dataset: SequenceDataset) -> None:
        self.must_emit(dataset.manifest.channels, dataset.location)

    def must_emit(self, channels: Sequence[Column], where: str) -> None:
        """Raises InputError for a channel of a dataset that is not of a kind that the family emits."""
        for channel in channels:
            if channel.kind not in self.KINDS:
                raise InputError(
                    f"{where}: channel {channel.name!r} is a {channel.kind}, and {type(self).__name__} emits "
                    f"{' or '.join(sorted(self.KINDS))} channels: choose another family, or prepare the dataset with others"
                )

    def beginnings(self, sequences: Training) -> list[HiddenMarkov[Any]]:
        """The beginnings of `n_init` fits. The first is the same for any `n_init`."""
        seed = self._seed()
        begins = []
        for number in range(self.n_init):
            seeds = seed if number == 0 else [seed, number]
            begin = initialise(
                self._begin(sequences.summary), sequences.sample, self.n_components,
                order=self._order, seed=seeds, structure=self._structure(),
            )  # fmt: skip
            # A copy: where the fit fails, the parameters are those from before.
            begun = copy(self)
            begun._adopt(begin, self.begun)
            begins.append(begun._model(begin.emission))
        return begins

    def settle(self, fits: list[tuple[HiddenMarkov[Any], em.History]], sequences: Training, seconds: float, cpu: float) -> None:
        """Takes the parameters of the most probable of the fitted models. States that the fit itself numbered are put in order.

        seconds, cpu    from before the first iteration, of processors the driver's and the tasks' together
        """
        totals = [history.log_likelihood[-1] + history.log_prior[-1] for _, history in fits]
        model, self.history_ = fits[int(np.argmax(totals))]
        self.restarts_ = tuple(history for _, history in fits)
        if self._names_states():
            model = model.ordered()
        notes, repairs = list(sequences.notes), [*sequences.repairs, *model.repairs]
        if len(fits) > 1:
            with_prior = " with the prior" if any(history.log_prior[-1] for history in self.restarts_) else ""
            last = ", ".join(f"{total:.1f}" for total in sorted(totals))
            notes.append(f"the likeliest of {len(fits)} restarts, whose log-likelihoods{with_prior} were {last}")
        for repair in repairs:
            log.warning("%s", repair)
        longest = max(self.restarts_, key=lambda history: len(history.seconds))
        self.monitor_ = Monitor(
            self.history_.log_likelihood, self.tol, self.n_iter, self.history_.stopped_by, tuple(repairs), tuple(notes),
            seconds + sum(longest.seconds), cpu + sum(longest.cpu_seconds),
        )  # fmt: skip
        self.fitted_on_ = sequences.origin
        vars(self).pop("online_history_", None)
        self._adopt(model, {"s", "t", *self.LETTERS})

    @property
    def begun(self) -> set[str]:
        """The letters of the parameters that a fit initialises."""
        return set() if self.warm_start and hasattr(self, "startprob_") else self._letters(self.init_params)

    def _report(self, on_iteration: em.OnIteration | None) -> Callable[[int, dict[int, float]], None]:
        def listener(iteration: int, likelihoods: dict[int, float]) -> None:
            if self.verbose:
                report(iteration, likelihoods)
            if on_iteration is not None:
                on_iteration(iteration, max(likelihoods.values()))

        return listener

    def _names_states(self) -> bool:
        """Whether nothing that the user gave says which state is which."""
        everything = {"s", "t", *self.LETTERS} == self._letters(self.init_params)
        priors = [
            value for name, value in self.get_params().items() if name.endswith(("_prior", "_weight")) and value is not None
        ]
        ergodic = isinstance(self.structure, str) and self.structure == "ergodic"
        return everything and ergodic and not self.warm_start and not any(np.ndim(prior) for prior in priors)

    def _seed(self) -> int:
        state = self.random_state
        if state is None:
            return int(np.random.SeedSequence().generate_state(1)[0])
        return int(state.randint(2**31)) if isinstance(state, np.random.RandomState) else int(state)

    def _structure(self) -> Structure:
        return Structure.of(self.structure, self.n_components)

    def _adopt(self, model: HiddenMarkov[Any], letters: set[str]) -> None:
        if "s" in letters:
            self.startprob_ = model.start
        if "t" in letters:
            self.transmat_ = model.transition
        self._take(model.emission, {name for letter, name in self.LETTERS.items() if letter in letters})

    def _spans(self, X: Any, lengths: Lengths, weights: Any = None) -> Spans:
        return sequences_of(X, lengths, weights, check=self._check_query)

    def _must_be(self, name: str, fine: bool, expected: str) -> None:
        if not fine:
            raise InputError(f"{name}: found {getattr(self, name)!r}, expected {expected}")
