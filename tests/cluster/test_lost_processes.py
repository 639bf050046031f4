"""Executors, workers and drivers that are killed in the middle of their work: nothing of it is lost."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest

from hindcast.deep.forecaster import load as load_lstm
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from tests.cluster.standalone import Standalone

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ENDED = "The application was ended before the command was over: "


def fit(kind: str, standalone: Standalone, out: str, *more: str) -> list[str]:
    return ["hindcast", "fit", kind, "d.seq", "--settings", "spec.toml", "--out", out, "--cluster.master", standalone.url, *more]


def test_preparation_loses_an_executor_and_no_reading(standalone: Standalone, dataset: SequenceDataset) -> None:
    before = standalone.launched
    driver = standalone.start("hindcast", "prep", "spec.toml", "lost.seq", "--cluster.master", standalone.url)
    standalone.kill_executor("one")
    standalone.assert_ends_well(driver)
    assert standalone.launched == before + 3, "two, and one in the place of the lost"
    assert SequenceDataset.open(standalone.folder / "lost.seq").digest == dataset.digest


def test_em_loses_a_worker_and_ends_with_the_same_numbers(standalone: Standalone, local_hmm: Path) -> None:
    driver = standalone.start(*fit("hmm", standalone, "worker.hmm"))
    standalone.until_checkpoint("worker.hmm", driver)
    standalone.kill("two")
    try:
        standalone.assert_ends_well(driver)
    finally:
        standalone.start_worker("two")
    standalone.assert_same_hmm("worker.hmm", local_hmm)


@pytest.mark.parametrize("lost", ["driver", "application"])
def test_em_is_ended_and_goes_on_to_the_same_numbers(standalone: Standalone, local_hmm: Path, lost: str) -> None:
    out = f"{lost}.hmm"
    driver = standalone.start(*fit("hmm", standalone, out))
    standalone.until_checkpoint(out, driver)
    if lost == "driver":
        driver.kill()
    else:
        standalone.kill_application()
    _, said = driver.communicate(timeout=300)
    if lost == "application":
        assert driver.returncode == 1, said
        assert f"hindcast: {ENDED}Master removed our application: KILLED" in said
        assert "Traceback" not in said
    assert not (standalone.folder / out).exists()
    standalone.run(*fit("hmm", standalone, out, "--resume"))
    standalone.assert_same_hmm(out, local_hmm)


def test_em_loses_its_whole_cluster_and_goes_on_to_the_same_numbers_on_the_next(standalone: Standalone, local_hmm: Path) -> None:
    driver = standalone.start(*fit("hmm", standalone, "whole.hmm", "--cluster.wait_seconds", "20"))
    standalone.until_checkpoint("whole.hmm", driver)
    try:
        for name in ("master", "one", "two"):
            standalone.kill(name)
        _, said = driver.communicate(timeout=300)
    finally:
        standalone.up()
    assert driver.returncode == 1, said
    assert "no executor is left; another is waited for, up to 20 s" in said
    assert f"hindcast: {ENDED}no executor is left, and {standalone.url} has given no executor within 20 s" in said
    assert "No master answers there ([Errno 111] Connection refused). Run it again, a fit with --resume" in said
    assert "Traceback" not in said
    assert not (standalone.folder / "whole.hmm").exists()
    standalone.run(*fit("hmm", standalone, "whole.hmm", "--resume"))
    standalone.assert_same_hmm("whole.hmm", local_hmm)


def test_em_loses_every_worker_and_goes_on_once_there_is_one(standalone: Standalone, local_hmm: Path) -> None:
    before = standalone.launched
    driver = standalone.start(*fit("hmm", standalone, "every.hmm"))
    standalone.until_checkpoint("every.hmm", driver)
    for name in ("one", "two"):
        standalone.kill(name)
    standalone.start_worker("one")
    try:
        standalone.assert_ends_well(driver)
    finally:
        standalone.start_worker("two")
    assert standalone.launched >= before + 3, "two, and one on the worker that came"
    standalone.assert_same_hmm("every.hmm", local_hmm)


def weights(standalone: Standalone, *models: str) -> set[str]:
    return {load_lstm(standalone.folder / model).card.part.weights_sha256 for model in models}


@pytest.mark.parametrize("lost", ["executor", "worker"])
def test_ranks_lose_an_executor_and_a_resumed_training_ends_with_the_same_weights(
    standalone: Standalone, lstm: Path, lost: str
) -> None:
    driver = standalone.start(*fit("lstm", standalone, f"{lost}.lstm"))
    standalone.until_checkpoint(f"{lost}.lstm", driver)
    began = time.monotonic()
    try:
        if lost == "worker":
            standalone.kill("one")
        else:
            standalone.kill_executor("one")
        _, err = driver.communicate(timeout=90)
        assert time.monotonic() - began < 60
    finally:
        if lost == "worker":
            standalone.start_worker("one")
    assert driver.returncode == 1
    assert re.search(r"rank \d on \S+ .*(ended|is lost|raised)", err), err
    assert not (standalone.folder / f"{lost}.lstm").exists()
    standalone.run(*fit("lstm", standalone, f"{lost}.lstm", "--resume"))
    assert len(weights(standalone, "lstm", f"{lost}.lstm")) == 1


def test_ranks_lose_a_worker_and_go_on_without_it(standalone: Standalone, dataset: SequenceDataset) -> None:
    driver = standalone.start(*fit("lstm", standalone, "fewer", "--cluster.least_ranks", "1"))
    standalone.until_checkpoint("fewer", driver)
    standalone.kill("two")
    try:
        _, err = driver.communicate(timeout=240)
    finally:
        standalone.start_worker("two")
    assert driver.returncode == 0, err[-4000:]
    assert re.search(r"rank \d on \S+ .*(ended|is lost|raised)", err), err
    assert "Goes on with 1 ranks, from its last checkpoint" in err
    card = load_lstm(standalone.folder / "fewer").card
    assert card.part.ranks == 1
    assert [record["epoch"] for record in card.history] == [*range(1, 13)]


def test_ranks_lose_their_driver_and_a_resumed_training_ends_with_the_same_weights(standalone: Standalone, lstm: Path) -> None:
    driver = standalone.start(*fit("lstm", standalone, "driver.lstm"))
    standalone.until_checkpoint("driver.lstm", driver)
    ranks = standalone.ranks()
    assert len(ranks) >= 2
    driver.kill()
    standalone.until_ended(ranks, 60)
    driver.communicate(timeout=30)
    assert not (standalone.folder / "driver.lstm").exists()
    standalone.run(*fit("lstm", standalone, "driver.lstm", "--resume"))
    assert len(weights(standalone, "lstm", "driver.lstm")) == 1


def test_em_ends_without_a_master(standalone: Standalone, local_hmm: Path) -> None:
    driver = standalone.start(*fit("hmm", standalone, "master.hmm"))
    standalone.until_checkpoint("master.hmm", driver)
    standalone.kill("master")
    try:
        standalone.assert_ends_well(driver)
    finally:
        standalone.restart_master()
    standalone.assert_same_hmm("master.hmm", local_hmm)


def test_partitions_lose_an_executor_and_no_model(standalone: Standalone, models: Path) -> None:
    before, in_partitions = standalone.launched, ("--cluster.on", "partitions", "--lstm.epochs", "10")
    driver = standalone.start(*fit("lstm", standalone, "lost.models", *in_partitions), FORCE_COLOR="1")
    standalone.until_said(driver, "[1-3] of 4 models")
    standalone.kill_executor("one")
    standalone.assert_ends_well(driver)
    assert standalone.launched == before + 3, "two, and one in the place of the lost"
    found, known = (json.loads((place / "models.json").read_text()) for place in (standalone.folder / "lost.models", models))
    assert found == known, "the digests of all weights are among it"


LOSING_AN_EXECUTOR = """
import json, os, signal, sys, time
import numpy as np, psutil
from hindcast.classical import em, hmm
from hindcast.classical.hmm.data.training import training
from hindcast.launch.spark.session import spark_session
from hindcast.prep.files.cache import cache_directory

def executors(app):
    lines = ((process.pid, process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))
    return [pid for pid, line in lines if app in line and any("CoarseGrainedExecutorBackend" in word for word in line)]

def lose_one(number):
    if number == 2:
        os.kill(executors(spark.sparkContext.applicationId)[0], signal.SIGKILL)

with spark_session(sys.argv[1]) as spark:
    limit = time.monotonic() + 300
    known = spark.sparkContext._jsc.sc().getExecutorMemoryStatus  # the driver is one of them
    while known().size() < 3 and time.monotonic() < limit:
        time.sleep(0.2)
    rng, found = np.random.default_rng(0), {}
    rows = [(rng.integers(0, 1 + 2 * (number % 2), 30).tolist(),) for number in range(60)]
    frame = spark.createDataFrame(rows, "x array<int>").repartition(6)
    model = hmm.CategoricalHMM(2, n_features=3, n_iter=5, random_state=0)
    for name, hook in (("whole", lambda number: None), ("disturbed", lose_one)):
        with training(frame, check=model._check) as given:
            found["nodes"] = len(given.data._nodes)
            how = {"iterations": 5, "tolerance": -np.inf, "on_iteration": lambda number, _: hook(number)}
            found[name] = em.fit(model.beginnings(given)[0], given.data, **how)[1].log_likelihood
    left = spark.sparkContext.parallelize(range(8), 8).map(lambda _: len([*cache_directory().glob("packed-*")])).collect()
print(json.dumps({**found, "left": sum(left)}))
"""


def test_sequences_that_a_lost_executor_had_are_packed_again(standalone: Standalone) -> None:
    found = json.loads(standalone.run(sys.executable, "-c", LOSING_AN_EXECUTOR, standalone.url).splitlines()[-1])
    assert found["nodes"] == 2
    assert found["disturbed"] == pytest.approx(found["whole"], rel=1e-12)
    assert found["left"] == 0
