"""The dataset on disk: a standard Petastorm directory and a manifest that describes every byte of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from prep.blocks import Address, Block, read
from prep.errors import InputError
from prep.layout import Layout
from prep.placing import holds
from prep.scaling import Scaling
from prep.spec import Spec
from prep.windows import Windows

FORMAT: Literal["hindcast-sequences"] = "hindcast-sequences"
VERSION: Literal[1] = 1
# The underscore keeps it out of what Petastorm and Spark take for data files.
MANIFEST = "_manifest.json"
must_be_dataset = holds(MANIFEST, "a Hindcast dataset")
SPLITS = ("train", "validation", "test")


class Part(BaseModel):
    """One Parquet file: rows and windows of each of its row groups, size and SHA-256 of its bytes, and digest of its rows."""

    model_config = ConfigDict(frozen=True)
    path: str
    split: Literal["train", "validation", "test"]
    rows: tuple[int, ...]
    windows: tuple[int, ...]
    bytes: int
    sha256: str
    content: str


class Border(BaseModel):
    """A split's steps on the grid, [start, stop), and the times they stand for (ISO 8601, UTC)."""

    model_config = ConfigDict(frozen=True)
    start: int
    stop: int
    start_time: str
    stop_time: str


class Manifest(BaseModel):
    """What the dataset holds, how it was made, and what was dropped or filled on the way."""

    model_config = ConfigDict(frozen=True)
    format: Literal["hindcast-sequences"]
    version: Literal[1]
    spec: Spec
    channels: tuple[str, ...]
    step_micros: int
    origin_micros: int
    borders: dict[str, Border]
    layout: Layout
    scaling: Scaling
    parts: tuple[Part, ...]
    counts: dict[str, int]
    digest: str
    versions: dict[str, str]


@dataclass(frozen=True)
class SequenceDataset:
    """An opened dataset. Nothing is read from it but the files that its manifest names."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, path: str | Path) -> SequenceDataset:
        """Raises InputError where there is no dataset, where it is not ours, or where a file is missing or of another size."""
        path = Path(path)
        manifest = read_manifest(path)
        for part in manifest.parts:
            file = path / part.path
            found = file.stat().st_size if file.exists() else None
            if found != part.bytes:
                state = "is missing" if found is None else f"has {found} bytes, and the manifest says {part.bytes}"
                raise InputError(f"{file}: {state}. The dataset is damaged: prepare it again with `hindcast prep`")
        # Addresses are read by processes with other working directories.
        return cls(path.absolute(), manifest)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.manifest.channels

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
    def digest(self) -> str:
        """Names the rows: the same for the same readings and settings, however partitioned; another after any change."""
        return self.manifest.digest

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
            addresses += [
                Address(
                    str(self.path / part.path), part.sha256, index, int(start), int(stop), self.layout.length, len(self.channels)
                )
                for start, stop in pairwise(borders)
            ]
        return addresses

    def blocks(self, split: str, shard: tuple[int, int] = (0, 1)) -> Iterator[Block]:
        """Row groups `shard[0]`, `shard[0] + shard[1]`, … of a split, decoded."""
        index, count = shard
        for address in self.addresses(split)[index::count]:
            yield read(address)

    def windows(self, split: str) -> Windows:
        """Every window of a split, in the order of the files, indexed from 0."""
        return Windows.over([read(address) for address in self.addresses(split)], self.layout, self.step_micros)


def read_manifest(path: Path) -> Manifest:
    """The manifest alone, checked against the format; InputError says what else the directory seems to be."""
    file = path / MANIFEST
    if not path.exists():
        raise InputError(f"{path}: no such dataset. `hindcast prep SPEC {path}` makes one")
    if not file.is_file():
        raise InputError(f"{path}: not a Hindcast dataset, or one whose writing was cut short: it has no {MANIFEST}")
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        found = (content.get("format"), content.get("version")) if isinstance(content, dict) else (None, None)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not JSON ({error}). Prepare the dataset again with `hindcast prep`") from None
    if found != (FORMAT, VERSION):
        raise InputError(
            f"{file}: expected format {FORMAT!r} version {VERSION}, found {found[0]!r} version {found[1]!r}. "
            "Open it with the Hindcast that wrote it, or prepare it again"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: field {'.'.join(map(str, first['loc']))}: {first['msg']}. Prepare the dataset again") from None
