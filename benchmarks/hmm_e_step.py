"""Hidden Markov models, one thread: Hindcast against hmmlearn, measured in turn in one run.

    python benchmarks/hmm_e_step.py [--rounds 5] [--quick]

EM iterations (E-step and M-step) of four families: at 8 states with the share of what a matrix product does on this machine, and
over a grid of states and lengths, up to one single long sequence; then Viterbi and scoring.

Processor seconds of the best of some rounds, both taken in turn. Laying stored rows into lanes counts as Hindcast's time, and
hmmlearn is given its readings as it wants them. Where it takes long it is given fewer sequences: steps a second are compared.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from hmmlearn import hmm

from hindcast.classical.hmm.emissions.categorical import Categorical
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.emissions.poisson import Poisson
from hindcast.classical.hmm.inference import decoded, scored
from hindcast.classical.hmm.kernels.lanes import whole
from hindcast.classical.hmm.model import HiddenMarkov

CHANNELS, SYMBOLS = 7, 16
STEPS = 400_000
STEPS_OF_HMMLEARN = {2: 100_000, 8: 50_000, 64: 10_000}  # at so many states
LONGEST = 100_000
FAMILIES = ("categorical", "diagonal", "full", "poisson")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
warnings.filterwarnings("ignore", module="hmmlearn")  # it divides 0 by 0 where it has no priors

Run = Callable[[], float]  # returns a log-likelihood, or a log-probability


@dataclass(frozen=True)
class Rates:
    """Million steps a second, and how far the two are apart in what they found in the same sequences, relatively."""

    theirs: float
    ours: float
    apart: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


def model_of(family: str, states: int) -> HiddenMarkov[Any]:
    rng = np.random.default_rng(0)
    start, transition = rng.dirichlet(np.ones(states)), rng.dirichlet(np.ones(states), states)
    means, floor = rng.normal(0, 2, (states, CHANNELS)), np.full(CHANNELS, 1e-9)
    roots = rng.normal(0, 0.3, (states, CHANNELS, CHANNELS)) + np.eye(CHANNELS)
    emission: Any = {
        "categorical": lambda: Categorical(rng.dirichlet(np.ones(SYMBOLS), states)),
        "diagonal": lambda: Gaussian(means, rng.uniform(0.5, 2, (states, CHANNELS)), floor),
        "full": lambda: Gaussian(means, roots @ roots.swapaxes(1, 2), floor),
        "poisson": lambda: Poisson(rng.uniform(0.5, 20, (states, CHANNELS))),
    }[family]()
    return HiddenMarkov(start, transition, emission)


def readings(model: HiddenMarkov[Any], sequences: int, steps: int) -> np.ndarray:
    """(sequences, steps, channels) float32, of states that are drawn evenly."""
    rng = np.random.default_rng(1)
    states = rng.integers(0, model.states, sequences * steps)
    return model.emission.sample(states, rng).reshape(sequences, steps, -1).astype(np.float32)


def peer_of(model: HiddenMarkov[Any], values: np.ndarray) -> tuple[Any, np.ndarray, Callable[[], None]]:
    """hmmlearn's model, the readings as it takes them, and what sets its parameters (again, after a fit)."""
    emission, told = model.emission, {"n_iter": 1, "init_params": "", "implementation": "scaling"}
    X, states = values.reshape(-1, values.shape[2]), model.states
    if isinstance(emission, Categorical):
        peer, given = hmm.CategoricalHMM(states, **told), {"emissionprob_": emission.probabilities, "n_features": SYMBOLS}
        X = X.astype(np.int64)
    elif isinstance(emission, Poisson):
        peer = hmm.PoissonHMM(states, lambdas_prior=0, lambdas_weight=0, **told)
        given, X = {"lambdas_": emission.rates, "n_features": CHANNELS}, X.astype(np.int64)
    else:
        kind = "full" if emission.covars.ndim == 3 else "diag"
        peer = hmm.GaussianHMM(states, kind, min_covar=0, covars_prior=0, **told)
        given, X = {"n_features": CHANNELS, "means_": emission.means, "covars_": emission.covars}, X.astype(np.float64)

    def begin() -> None:
        for name, value in {"startprob_": model.start, "transmat_": model.transition, **given}.items():
            setattr(peer, name, value)

    begin()
    return peer, X, begin


def of_hmmlearn(what: str, model: HiddenMarkov[Any], values: np.ndarray) -> Run:
    peer, X, begin = peer_of(model, values)
    lengths = [values.shape[1]] * len(values)

    def iteration() -> float:
        begin()
        peer.fit(X, lengths)
        return float(peer.monitor_.history[-1])

    return {
        "iteration": iteration,
        "score": lambda: float(peer.score(X, lengths)),
        "decode": lambda: float(peer.decode(X, lengths)[0]),
    }[what]


def of_hindcast(what: str, model: HiddenMarkov[Any], values: np.ndarray) -> Run:
    spans = whole(values)

    def iteration() -> float:
        statistics = model.e_step(spans)
        model.m_step(statistics)
        return float(statistics.log_likelihood)

    return {
        "iteration": iteration,
        "score": lambda: float(sum(likelihood.sum() for _, likelihood in scored(model, spans))),
        "decode": lambda: float(sum(log_probability.sum() for _, _, log_probability in decoded(model, spans))),
    }[what]


def best_seconds(runs: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Processor seconds of each, the least of `rounds`, taken in turn so that a busy machine slows all of them alike."""
    best = [np.inf] * len(runs)
    for _ in range(rounds):
        for which, run in enumerate(runs):
            began = time.process_time()
            run()
            best[which] = min(best[which], time.process_time() - began)
    return best


def compare(what: str, family: str, states: int, sequences: int, steps: int, rounds: int) -> Rates:
    model = model_of(family, states)
    values = readings(model, sequences, steps)
    few = values[: max(1, STEPS_OF_HMMLEARN[states] // steps)]
    few = few[:, : STEPS_OF_HMMLEARN[states]]
    theirs, ours = of_hmmlearn(what, model, few), of_hindcast(what, model, values)
    expected, found = theirs(), of_hindcast(what, model, few)()  # compiles, too
    seconds, our_seconds = best_seconds([theirs, ours], rounds)
    return Rates(few.shape[0] * few.shape[1] / seconds / 1e6, sequences * steps / our_seconds / 1e6, abs(found / expected - 1))


def share_of_a_matrix_product(states: int, million_steps: float) -> float:
    """Of the floating point operations a second that `dgemm` does here; a step of the E-step counts as 6 states²."""
    size = 512
    a, b = np.random.default_rng(0).random((2, size, size))
    (seconds,) = best_seconds([lambda: a @ b], 30)
    return 6 * states**2 * million_steps * 1e6 / (2 * size**3 / seconds)


def at_eight_states(rounds: int) -> None:
    print("\nEM iterations at 8 states, 4096 sequences of 100 steps, million steps a second; share of a matrix product's rate")
    print(f"{'family':<14}{'hmmlearn':>10}{'Hindcast':>10}{'ratio':>8}{'share':>8}{'apart':>10}")
    for family in FAMILIES:
        rates = compare("iteration", family, 8, 4096, 100, rounds)
        share = share_of_a_matrix_product(8, rates.ours)
        line = f"{rates.theirs:>10.2f}{rates.ours:>10.2f}{rates.ratio:>8.1f}{share:>8.0%}{rates.apart:>10.0e}"
        print(f"{family:<14}{line}", flush=True)


def over_states_and_lengths(rounds: int) -> None:
    print(f"\nEM iterations: ratio to hmmlearn (million steps a second of Hindcast); {STEPS:,} steps in sequences of so many")
    shapes = [(STEPS // steps, steps) for steps in (10, 100, 10_000)] + [(1, LONGEST)]
    titles = [f"{sequences:,} x {steps:,}" for sequences, steps in shapes]
    print(f"{'family':<14}{'states':>6}" + "".join(f"{title:>20}" for title in titles))
    for family in FAMILIES:
        for states in STEPS_OF_HMMLEARN:
            print(f"{family:<14}{states:>6}", end="", flush=True)
            for sequences, steps in shapes:
                rates = compare("iteration", family, states, sequences, steps, rounds)
                print(f"{f'{rates.ratio:.1f} ({rates.ours:.1f})':>20}", end="", flush=True)
            print()


def answers(rounds: int) -> None:
    print("\nViterbi and scoring at 8 states, 4096 sequences of 100 steps, million steps a second")
    print(f"{'family':<14}{'':<10}{'hmmlearn':>10}{'Hindcast':>10}{'ratio':>8}{'apart':>10}")
    for family in FAMILIES:
        for what in ("decode", "score"):
            rates = compare(what, family, 8, 4096, 100, rounds)
            line = f"{rates.theirs:>10.2f}{rates.ours:>10.2f}{rates.ratio:>8.1f}{rates.apart:>10.0e}"
            print(f"{family:<14}{what:<10}{line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="leave out the grid of states and lengths")
    chosen = parser.parse_args()
    if os.environ.get(THREADS[0]) != "1":  # libraries read these when they are imported
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **dict.fromkeys(THREADS, "1")})
    packages = ", ".join(f"{name} {version(name)}" for name in ("hmmlearn", "numba", "numpy"))
    print(f"{cpu()}, one thread; {packages} (implementation 'scaling'); {CHANNELS} channels or {SYMBOLS} symbols")
    at_eight_states(chosen.rounds)
    answers(chosen.rounds)
    if not chosen.quick:
        over_states_and_lengths(max(2, chosen.rounds // 2))


def cpu() -> str:
    """The processor's name."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
