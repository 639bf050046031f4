"""A worker's disk is full, before or in the middle of the work: it ends as on one machine, by the other worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from prep.dataset import SequenceDataset
from tests.cluster.disk import Disk
from tests.cluster.standalone import Standalone
from tests.cluster.waiting import until_persisted

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_preparation_on_a_full_disk_loses_no_reading(
    standalone: Standalone, small_disk: Disk, dataset: SequenceDataset, when: str
) -> None:
    out = f"full-{when}.seq"
    start = standalone.start_on_both
    if when == "before":
        small_disk.fill()
        start = standalone.start  # an executor may not even come up there
    driver = start("hindcast", "prep", "spec.toml", out, "--cluster.master", standalone.url)
    if when == "meanwhile":
        until_persisted(small_disk.folder, driver)
        small_disk.fill()
    standalone.assert_ends_well(driver)
    assert SequenceDataset.open(standalone.folder / out).digest == dataset.digest


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_em_on_a_full_disk_ends_with_the_same_numbers(
    standalone: Standalone, small_disk: Disk, local_hmm: Path, when: str
) -> None:
    out = f"full-{when}.hmm"
    if when == "before":
        small_disk.fill()
    driver = standalone.start(
        "hindcast", "fit", "hmm", "d.seq", "--settings", "spec.toml", "--out", out, "--cluster.master", standalone.url
    )
    if when == "meanwhile":
        standalone.until_checkpoint(out, driver)
        small_disk.fill()
    standalone.assert_ends_well(driver)
    standalone.assert_same_hmm(out, local_hmm)
