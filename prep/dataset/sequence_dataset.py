"""The dataset on disk: a standard Petastorm directory and a manifest that describes every byte of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hindcast.prep.dataset.blocks import Address, ArrayField, Block, read_each
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.dataset.manifest import Manifest, parse_manifest
from hindcast.prep.dataset.preparation import Preparation
from hindcast.prep.dataset.windows import Windows
from hindcast.prep.errors import InputError
from hindcast.prep.files import storage
from hindcast.prep.files.names import MANIFEST
from hindcast.prep.files.placing import holds, recover
from hindcast.prep.grid.splits import SPLITS
from hindcast.prep.scaling.affine import Scaling

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

must_be_dataset = holds(MANIFEST, "a Hindcast dataset")


@dataclass(frozen=True)
class SequenceDataset:
    """An opened dataset. Nothing is read from it but the files that its manifest names.

    `location` is an absolute path, or a URI that fsspec opens.
    """

    location: str
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> SequenceDataset:
        """Raises InputError where there is no dataset, where it is not ours, or where a file is missing or of another size."""
        # Addresses are read by processes with other working directories.
        location = storage.absolute(str(path))
        if storage.is_local(location):
            recover(storage.local_path(location))
        manifest = read_manifest(location)
        for part in manifest.parts:
            file = storage.join(location, part.path)
            size = storage.size_of(file)
            if size != part.bytes:
                state = "is missing" if size is None else f"has {size} bytes, and the manifest says {part.bytes}"
                raise InputError(f"{file}: {state}. The dataset is damaged: prepare it again with `hindcast prep`")
        return cls(location, manifest)

    @property
    def path(self) -> Path:
        """Where it is on this machine. Raises InputError for one that is elsewhere."""
        return storage.local_path(self.location)

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(channel.name for channel in self.manifest.channels)

    @property
    def layout(self) -> Layout:
        return self.manifest.layout

    @property
    def scaling(self) -> Scaling:
        return self.manifest.scaling

    @property
    def step_micros(self) -> int:
        return self.manifest.step_micros

    @property
    def preparation(self) -> Preparation:
        """What new readings go through as well, to be forecast by a model of this dataset."""
        return Preparation.of(self.manifest)

    @property
    def digest(self) -> str:
        """Names the rows: the same for the same readings and settings, however partitioned; another after any change."""
        return self.manifest.digest

    @property
    def arrays(self) -> tuple[ArrayField, ...]:
        return self.manifest.arrays

    def without(self, split: str) -> SequenceDataset:
        """The dataset for somebody who must not see a split: no file of it is named, and nothing that was counted in it."""
        parts = tuple(part for part in self.manifest.parts if part.split != split)
        counts = {name: of_split for name, of_split in self.manifest.counts.items() if name != split}
        return replace(self, manifest=self.manifest.model_copy(update={"parts": parts, "counts": counts}))

    def addresses(self, split: str, pieces: int = 1) -> list[Address]:
        """Where the split's rows are: one address a row group, or more, until there are `pieces` (as far as rows allow).

        An address is small and can be pickled: Spark tasks carry addresses, never data.
        """
        groups = [
            (part, index, rows) for part in self.manifest.parts if part.split == split for index, rows in enumerate(part.rows)
        ]
        total = sum(rows for _, _, rows in groups)
        addresses = []
        for part, index, rows in groups:
            cuts = min(rows, max(1, round(pieces * rows / total)))
            borders = np.linspace(0, rows, cuts + 1).round().astype(int)
            file = storage.join(self.location, part.path)
            addresses += [
                Address(file, part.digest, index, int(start), int(stop), self.arrays) for start, stop in pairwise(borders)
            ]
        return addresses

    def blocks(self, split: str, shard: tuple[int, int] = (0, 1)) -> Iterator[Block]:
        """Row groups `shard[0]`, `shard[0] + shard[1]`, … of a split, decoded."""
        index, count = shard
        yield from read_each(self.addresses(split)[index::count])

    def windows(
        self, split: str, addresses: Sequence[Address] | None = None, on_block: Callable[[], None] = lambda: None
    ) -> Windows:
        """Every window of a split, in the order of the files, indexed from 0; of some `addresses` of it alone, where given.

        `on_block` is called after each row group that was read.
        """
        known = tuple(index for index, covariate in enumerate(self.manifest.covariates) if covariate.known)
        selection = self.addresses(split) if addresses is None else addresses
        blocks = []
        for block in read_each(selection):
            blocks.append(block)
            on_block()
        return Windows.over(blocks, self.layout, self.step_micros, known)

    def windows_between(self, split: str, start: int, stop: int) -> Windows:
        """Windows [start, stop) of `windows(split)`, numbered from 0. No other row groups are read than those that hold them."""
        counts = [count for part in self.manifest.parts if part.split == split for count in part.windows]
        ends = np.cumsum(counts, dtype=np.int64)
        begins = ends - counts
        groups = np.flatnonzero((ends > start) & (begins < stop))
        addresses = self.addresses(split)
        before = int(begins[groups[0]]) if len(groups) else 0
        return self.windows(split, [addresses[index] for index in groups]).between(start - before, stop - before)

    def to_spark(self, spark: SparkSession, *, windows: bool = False) -> DataFrame:
        """The stored rows of all splits, or with `windows` every window, as nested arrays: see prep/dataset/exporting.py."""
        from hindcast.prep.dataset.exporting import to_spark

        addresses = {split: self.addresses(split) for split in SPLITS}
        return to_spark(spark, addresses, self.layout, self.step_micros, windows=windows)


def read_manifest(location: str) -> Manifest:
    """The manifest alone, checked against the format; InputError says what else the directory seems to be."""
    file = storage.join(location, MANIFEST)
    if storage.size_of(file) is None:
        if storage.is_local(location) and storage.local_path(location).exists():
            raise InputError(f"{location}: not a Hindcast dataset, or one whose writing was cut short: it has no {MANIFEST}")
        raise InputError(f"{location}: no such dataset. `hindcast prep SPEC {location}` makes one")
    return parse_manifest(storage.read_text(file), file)
