"""What a training step costs: with the feed against arrays in memory, and on two ranks against one.

    python benchmarks/lstm_steps.py feed DATASET       the same step on batches of the feed, and on one batch that lies in memory
    python benchmarks/lstm_steps.py scaling DATASET [--batch 256 1024 4096]
                                                       two ranks with so many sequences each against one, a thread a rank in both
    python benchmarks/lstm_steps.py parts DATASET [--batch 256 1024 4096]
                                                       where the time of a step goes on one rank, on two processes, on two ranks

Steps are paired: each measured one stands beside one of its peer in time, and the ratio is the median of the pairs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from hindcast.deep.inputs import inputs_of
from hindcast.deep.networks.building import build
from hindcast.deep.settings import LstmSettings
from hindcast.deep.training.collective import Collective, HorovodRanks, OneProcess
from hindcast.deep.training.feed import Batch, Epoch, Share, training_feed
from hindcast.deep.training.learner import Learner
from hindcast.deep.ways.local import train_on
from hindcast.deep.ways.started import started_by_horovod
from hindcast.prep.dataset.sequence_dataset import SequenceDataset

STEPS, TURNS, SECONDS, WARM, PART_STEPS = 30, 32, 20, 5, 100
PARTS = "gradients", "their sum", "their application"


class Training(NamedTuple):
    """A learner of default settings, and the steps that it takes of a dataset."""

    learner: Learner
    share: Share
    epoch: Callable[[int], Iterator[Batch]]


def training(location: str, collective: Collective, **settings_: Any) -> Training:
    dataset = SequenceDataset.open(location)
    windows, layout = dataset.windows("train"), dataset.layout
    settings = LstmSettings(**settings_).for_windows(layout.context, layout.horizon)
    inputs = inputs_of(dataset, windows, settings)
    share = Share(len(windows), settings.windows_a_step(inputs.channels), 0, 1)
    learner = Learner(build(settings, inputs), settings, collective, share.steps)
    return Training(
        learner, share, lambda epoch: training_feed(windows, inputs, Epoch(share, settings.member_seeds, epoch, settings.mixing))
    )


def feed(location: str) -> None:
    learner, share, epoch = training(location, OneProcess())
    times: dict[str, list[float]] = {"feed": [], "memory": []}
    for turn in range(TURNS + 1):
        fed = epoch(turn)
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


def parts(location: str, batch: int) -> None:
    """One after the other instead of in one graph, as `scaling` takes them: gradients, their sum, and what is done with it."""
    for name, runs in (("one rank", [1]), ("two processes", [1, 1]), ("two ranks", [2])):
        of_all = np.array(_told(location, "part", batch, runs))
        of_parts = ", ".join(f"{part} {ms:.1f}" for part, ms in zip(PARTS, of_all.mean(axis=0), strict=True))
        print(f"{batch} sequences, {name}: medians in ms: {of_parts}")


def part(location: str, batch: int) -> None:
    """Prints the median milliseconds of each of PARTS, from every rank: of a step on a batch that lies in memory."""
    collective = HorovodRanks() if started_by_horovod() else OneProcess()
    learner, _, epoch = training(location, collective, batch=batch)
    held, variables = next(epoch(0)), learner.network.trainable_variables

    @tf.function
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(learner._losses(*held, training=True)[0])
        return [tf.convert_to_tensor(gradient) for gradient in tape.gradient(total, variables)]

    summed = tf.function(collective.sum)
    applied = tf.function(lambda found: learner.optimiser.apply(found, variables))
    times = []
    for _ in range(WARM + PART_STEPS):
        at = [time.perf_counter()]
        found = gradients()
        found[0].numpy()  # the end of what TensorFlow may still be at
        at.append(time.perf_counter())
        found = summed(found)
        found[0].numpy()
        at.append(time.perf_counter())
        applied(found)
        at.append(time.perf_counter())
        times.append(np.diff(at))
    print("found:", *np.median(times[WARM:], axis=0) * 1e3, flush=True)


def _timed(location: str, batch: int, runs: list[int]) -> list[float]:
    """Seconds a step of runs of so many ranks each, at the same time."""
    return [seconds for (seconds,) in _told(location, "rank", batch, runs)]


def _told(location: str, what: str, batch: int, runs: list[int]) -> list[list[float]]:
    """The numbers that each process found, where runs of so many ranks each go at the same time."""
    environment = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    started = [
        subprocess.Popen(
            [*_horovodrun(ranks), sys.executable, __file__, what, location, "--batch", str(batch)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for ranks in runs
    ]  # fmt: skip
    told = []
    for process in started:
        out, err = process.communicate(timeout=400)
        if process.returncode:
            raise SystemExit(out + err)
        told += [[float(number) for number in line.split("found: ")[1].split()] for line in out.splitlines() if "found: " in line]
    return told


def _horovodrun(ranks: int) -> list[str]:
    return [str(Path(sys.executable).with_name("horovodrun")), "-np", str(ranks), "--gloo"]


def rank(location: str, batch: int) -> None:
    """Prints the median seconds of a step, from rank 0."""
    collective, at = HorovodRanks(), list[tuple[int, int, float]]()
    settings = LstmSettings(epochs=1000, patience=1000, batch=batch, batch_of="rank", max_seconds=SECONDS)
    dataset = SequenceDataset.open(location)
    train_on(dataset, settings, collective, on_step=lambda epoch, step: at.append((epoch, step, time.perf_counter())))
    if collective.rank == 0:
        # Validation tells of its steps too, by the number of the last one of training.
        seconds = [end - begin for (epoch, step, begin), (*next_, end) in pairwise(at) if next_ == [epoch, step + 1]]
        print("found:", float(np.median(seconds[WARM:])), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("feed", "scaling", "rank", "parts", "part"))
    parser.add_argument("dataset")
    parser.add_argument("--batch", type=int, nargs="+", default=[256, 1024, 4096], help="sequences a rank and step")
    asked = parser.parse_args()
    if asked.what == "feed":
        feed(asked.dataset)
    else:
        for batch in asked.batch:
            {"scaling": scaling, "rank": rank, "parts": parts, "part": part}[asked.what](asked.dataset, batch)


if __name__ == "__main__":
    main()
