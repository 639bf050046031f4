"""What a training step costs: with the feed against arrays in memory, and on two ranks against one.

    python benchmarks/lstm_steps.py feed DATASET       the same step on batches of the feed, and on one batch that lies in memory
    python benchmarks/lstm_steps.py scaling DATASET [--batch 256 1024 4096]
                                                       two ranks with so many sequences each against one, a thread a rank in both

Steps are paired: each measured one stands beside one of its peer in time, and the ratio is the median of the pairs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from prep.dataset import SequenceDataset

STEPS, TURNS, SECONDS, WARM = 30, 16, 20, 5


def feed(location: str) -> None:
    import tensorflow as tf

    from deep.collective import OneProcess
    from deep.feed import Epoch, Share, training_feed
    from deep.inputs import inputs_of
    from deep.learner import Learner
    from deep.networks import build
    from deep.settings import LstmSettings

    dataset = SequenceDataset.open(location)
    windows, settings = dataset.windows("train"), LstmSettings().for_windows(dataset.layout.context, dataset.layout.horizon)
    inputs = inputs_of(dataset, windows, settings)
    share = Share(len(windows), settings.windows_a_step(inputs.channels), 0, 1)
    learner = Learner(build(settings, inputs), settings, OneProcess(), share.steps)
    times: dict[str, list[float]] = {"feed": [], "memory": []}
    for turn in range(TURNS + 1):
        fed = training_feed(windows, inputs, Epoch(share, settings.member_seeds, turn, settings.mixing))
        held = next(fed)
        sources = {"feed": fed, "memory": iter([held] * (STEPS + 5))}
        for name in sorted(sources, reverse=bool(turn % 2)):  # neither is always the first
            for step, batch in zip(range(STEPS + 5), sources[name], strict=False):
                if step == 5:  # the feed has been filled while nobody took from it
                    began = time.perf_counter()
                float(learner.train_step(*batch, tf.constant(0.0)).total)
            if turn:  # the first traces the graph
                times[name].append((time.perf_counter() - began) / STEPS * 1e3)
    ratios = np.divide(times["feed"], times["memory"])
    fed_, held_ = (float(np.median(times[name])) for name in ("feed", "memory"))
    print(
        f"a step of {share.size} windows: {fed_:.1f} ms with the feed, {held_:.1f} ms on tensors in memory; "
        f"ratio {fed_ / held_:.3f}"
    )
    print(f"by turn: median {np.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")


def scaling(location: str, batch: int) -> None:
    """One rank, two ranks, and as the machine's own limit two processes that know nothing of each other; a thread each."""
    times: dict[str, list[float]] = {"one rank": [], "two ranks": [], "two processes": []}
    for _ in range(3):
        times["one rank"].append(_timed(location, batch, [1])[0])
        times["two ranks"].append(_timed(location, batch, [2])[0])
        times["two processes"].append(max(_timed(location, batch, [1, 1])))
    one = np.array(times.pop("one rank"))
    print(f"a step of {batch} sequences on one rank, alone: {np.median(one) * 1e3:.1f} ms")
    for name, seconds in times.items():
        found = one / seconds
        print(
            f"{name} with a batch each: {np.median(seconds) * 1e3:.1f} ms, efficiency {np.median(found):.2f} "
            f"({min(found):.2f} to {max(found):.2f})"
        )


def _timed(location: str, batch: int, runs: list[int]) -> list[float]:
    """Seconds a step of runs of so many ranks each, at the same time."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = [
        subprocess.Popen(
            [*_horovodrun(ranks), sys.executable, __file__, "rank", location, "--batch", str(batch)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for ranks in runs
    ]  # fmt: skip
    told = []
    for process in started:
        out, err = process.communicate(timeout=400)
        if process.returncode:
            raise SystemExit(out + err)
        told += [float(line.split("seconds a step: ")[1]) for line in out.splitlines() if "seconds a step: " in line]
    return told


def _horovodrun(ranks: int) -> list[str]:
    return [str(Path(sys.executable).with_name("horovodrun")), "-np", str(ranks), "--gloo"]


def rank(location: str, batch: int) -> None:
    """Prints the median seconds of a step, from rank 0."""
    from deep.collective import HorovodRanks
    from deep.local import train_on
    from deep.settings import LstmSettings

    collective, at = HorovodRanks(), list[tuple[int, int, float]]()
    settings = LstmSettings(epochs=1000, patience=1000, batch=batch, batch_of="rank", max_seconds=SECONDS)
    dataset = SequenceDataset.open(location)
    train_on(dataset, settings, collective, on_step=lambda epoch, step: at.append((epoch, step, time.perf_counter())))
    if collective.rank == 0:
        # Validation tells of its steps too, by the number of the last one of training.
        seconds = [end - begin for (epoch, step, begin), (*next_, end) in pairwise(at) if next_ == [epoch, step + 1]]
        print(f"seconds a step: {float(np.median(seconds[WARM:]))}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("feed", "scaling", "rank"))
    parser.add_argument("dataset")
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024, 4096], help="sequences a rank and step")
    asked = parser.parse_args()
    if asked.what == "feed":
        feed(asked.dataset)
    else:
        for batch in asked.batch:
            (scaling if asked.what == "scaling" else rank)(asked.dataset, batch)


if __name__ == "__main__":
    main()
