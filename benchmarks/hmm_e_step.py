"""One EM iteration (E-step and M-step) of an HMM, one thread: Hindcast against hmmlearn, measured in turn in one run.

    python benchmarks/hmm_e_step.py [--sequences 4096] [--rounds 5]

Processor seconds of the best of some rounds, both taken in turn. Building lanes of the stored rows counts as Hindcast's time;
hmmlearn is given its readings as it wants them.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from hmmlearn import hmm

from classical.hmm.emissions.categorical import Categorical
from classical.hmm.emissions.gaussian import Gaussian
from classical.hmm.emissions.poisson import Poisson
from classical.hmm.model import HiddenMarkov
from prep.blocks import Block

STATES, CHANNELS, SYMBOLS = 8, 7, 16
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
warnings.filterwarnings("ignore", module="hmmlearn")  # it divides 0 by 0 where it has no priors

FAMILIES = ("categorical", "diagonal", "full", "poisson")
Iteration = tuple[Callable[[], None], Callable[[], float]]


def model_of(family: str) -> HiddenMarkov[Any]:
    rng = np.random.default_rng(0)
    start, transition = rng.dirichlet(np.ones(STATES)), rng.dirichlet(np.ones(STATES), STATES)
    means, floor = rng.normal(0, 2, (STATES, CHANNELS)), np.full(CHANNELS, 1e-9)
    roots = rng.normal(0, 0.3, (STATES, CHANNELS, CHANNELS)) + np.eye(CHANNELS)
    emission: Any = {
        "categorical": lambda: Categorical(rng.dirichlet(np.ones(SYMBOLS), STATES)),
        "diagonal": lambda: Gaussian(means, rng.uniform(0.5, 2, (STATES, CHANNELS)), floor),
        "full": lambda: Gaussian(means, roots @ roots.swapaxes(1, 2), floor),
        "poisson": lambda: Poisson(rng.uniform(0.5, 20, (STATES, CHANNELS))),
    }[family]()
    return HiddenMarkov(start, transition, emission)


def readings(model: HiddenMarkov[Any], sequences: int, steps: int) -> np.ndarray:
    """(sequences, steps, channels) float32, of states that are drawn evenly."""
    rng, emission = np.random.default_rng(1), model.emission
    states = rng.integers(0, STATES, (sequences, steps))
    if isinstance(emission, Categorical):
        ahead = np.cumsum(emission.probabilities, axis=1)[states]
        symbols = (rng.random((sequences, steps, 1)) >= ahead).sum(axis=-1)
        return np.minimum(symbols, SYMBOLS - 1)[..., None].astype(np.float32)
    if isinstance(emission, Poisson):
        return rng.poisson(emission.rates[states]).astype(np.float32)
    return (emission.means[states] + rng.normal(size=(sequences, steps, CHANNELS))).astype(np.float32)


def iteration_of_hmmlearn(model: HiddenMarkov[Any], values: np.ndarray) -> Iteration:
    """What runs one iteration from the same start, and what tells the log-likelihood of the start."""
    emission, told = model.emission, {"n_iter": 1, "init_params": "", "implementation": "scaling"}
    X, lengths = values.reshape(-1, values.shape[2]), [values.shape[1]] * len(values)
    if isinstance(emission, Categorical):
        peer, given = hmm.CategoricalHMM(STATES, **told), {"emissionprob_": emission.probabilities, "n_features": SYMBOLS}
        X = X.astype(np.int64)
    elif isinstance(emission, Poisson):
        peer = hmm.PoissonHMM(STATES, lambdas_prior=0, lambdas_weight=0, **told)
        given, X = {"lambdas_": emission.rates, "n_features": CHANNELS}, X.astype(np.int64)
    else:
        peer = hmm.GaussianHMM(STATES, "full" if emission.full else "diag", min_covar=0, covars_prior=0, **told)
        given, X = {"n_features": CHANNELS, "means_": emission.means, "covars_": emission.covars}, X.astype(np.float64)

    def run() -> None:
        for name, value in {"startprob_": model.start, "transmat_": model.transition, **given}.items():
            setattr(peer, name, value)
        peer.fit(X, lengths)

    return run, lambda: float(peer.monitor_.history[-1])


def iteration_of_hindcast(model: HiddenMarkov[Any], values: np.ndarray) -> Iteration:
    rows = len(values)
    block = Block(
        values=values,
        observed=np.ones(values.shape, np.uint8),
        covariates=np.zeros((*values.shape[:2], 0), np.float32),
        covariates_observed=np.zeros((*values.shape[:2], 0), np.uint8),
        labels=np.zeros((*values.shape[:2], 0), np.int32),
        attributes=np.zeros((rows, 0), np.float32),
        series=np.full(rows, "one"),
        start=np.zeros(rows, "datetime64[us]"),
        windows=np.zeros(rows, np.int32),
        own_start=np.zeros(rows, np.int32),
        own_stop=np.full(rows, values.shape[1], np.int32),
    )
    last: list[Any] = [None]

    def run() -> None:
        last[0] = model.e_step(block)
        model.m_step(last[0])

    return run, lambda: float(model.log_likelihood(last[0]))


def best_seconds(runs: list[Callable[[], None]], rounds: int) -> list[float]:
    """Processor seconds of each, the least of `rounds`, taken in turn so that a busy machine slows all of them alike."""
    best = [np.inf] * len(runs)
    for _ in range(rounds):
        for which, run in enumerate(runs):
            began = time.process_time()
            run()
            best[which] = min(best[which], time.process_time() - began)
    return best


def line(family: str, sequences: int, steps: int, rounds: int) -> str:
    model = model_of(family)
    values = readings(model, sequences, steps)
    (theirs, likelihood), (ours, our_likelihood) = iteration_of_hmmlearn(model, values), iteration_of_hindcast(model, values)
    ours()  # compiles
    seconds, our_seconds = best_seconds([theirs, ours], rounds)
    millions, apart = sequences * steps / 1e6, abs(likelihood() / our_likelihood() - 1)
    rates = f"{millions / seconds:>10.2f}{millions / our_seconds:>10.2f}{seconds / our_seconds:>8.1f}"
    return f"{family:<12}{sequences:>10}{steps:>8}{rates}{apart:>12.0e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    if os.environ.get(THREADS[0]) != "1":  # libraries read these when they are imported
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **dict.fromkeys(THREADS, "1")})
    packages = ", ".join(f"{name} {version(name)}" for name in ("hmmlearn", "numba", "numpy"))
    print(f"{cpu()}, one thread; {packages}; {STATES} states, {CHANNELS} channels or {SYMBOLS} symbols")
    print("hmmlearn's implementation is 'scaling'; million steps a second, and how far the log-likelihoods are apart, relatively")
    print(f"{'family':<12}{'sequences':>10}{'steps':>8}{'hmmlearn':>10}{'Hindcast':>10}{'ratio':>8}{'apart':>12}")
    for family in FAMILIES:
        for sequences, steps in ((chosen.sequences, 100), (1, 20_000)):
            print(line(family, sequences, steps, chosen.rounds), flush=True)


def cpu() -> str:
    """The processor's name."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(":")[2].strip() if names else platform.machine()


if __name__ == "__main__":
    main()
