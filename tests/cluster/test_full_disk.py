"""A worker's disk is full, before or in the middle of the work: it ends as on one machine, by the other worker."""

from __future__ import annotations

from pathlib import Path

import pytest

import hindcast
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from tests.cluster.disk import Disk
from tests.cluster.standalone import Standalone
from tests.cluster.waiting import until, until_persisted

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_preparation_on_a_full_disk_loses_no_reading(
    standalone: Standalone, small_disks: dict[str, Disk], dataset: SequenceDataset, when: str
) -> None:
    out = f"full-{when}.seq"
    if when == "before":
        small_disks["two"].fill()
    driver = standalone.start("hindcast", "prep", "spec.toml", out, "--cluster.master", standalone.url)
    if when == "meanwhile":
        small_disks[until_persisted({name: disk.folder for name, disk in small_disks.items()}, driver)].fill()
    standalone.assert_ends_well(driver)
    assert SequenceDataset.open(standalone.folder / out).digest == dataset.digest


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_em_on_a_full_disk_ends_with_the_same_numbers(
    standalone: Standalone, small_disks: dict[str, Disk], local_hmm: Path, when: str
) -> None:
    out = f"full-{when}.hmm"
    if when == "before":
        small_disks["two"].fill()
    driver = standalone.start(
        "hindcast", "fit", "hmm", "d.seq", "--settings", "spec.toml", "--out", out, "--cluster.master", standalone.url
    )
    if when == "meanwhile":
        standalone.until_checkpoint(out, driver)
        small_disks["two"].fill()
    standalone.assert_ends_well(driver)
    standalone.assert_same_hmm(out, local_hmm)


def test_an_application_that_was_removed_before_it_began_is_started_again(
    standalone: Standalone, small_disks: dict[str, Disk], dataset: SequenceDataset
) -> None:
    standalone.kill("one")
    small_disks["two"].fill()
    command = ["hindcast", "prep", "spec.toml", "removed.seq", "--cluster.master", standalone.url]
    driver = standalone.start(*command, "--cluster.wait_seconds", "5")
    _, said = driver.communicate(timeout=400)
    assert driver.returncode == 2, said
    assert said.splitlines()[-1].startswith(f"hindcast: {standalone.url} removed the application for 5 s whenever it began")
    assert said.count("Application has been killed") == 1, "Spark says it again and again"
    assert "Traceback" not in said
    assert not (standalone.folder / "removed.seq").exists()

    # In Java that spark-submit has started, and that knows no configuration of ours for Spark's log.
    before = standalone.removed
    main = str(Path(hindcast.__file__).with_name("__main__.py"))
    driver = standalone.start("spark-submit", "--master", standalone.url, main, *command[1:4])
    until(lambda: standalone.removed > before, "the master has removed the application")
    small_disks["two"].empty()
    standalone.assert_ends_well(driver)
    assert SequenceDataset.open(standalone.folder / "removed.seq").digest == dataset.digest
