"""What a dataset holds and how it was made: the file that describes every other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from hindcast.prep.dataset.blocks import ArrayField
from hindcast.prep.dataset.layout import Layout
from hindcast.prep.errors import InputError
from hindcast.prep.grid.splits import Border, SeriesSplit
from hindcast.prep.readings.vocabulary import Vocabulary
from hindcast.prep.scaling.affine import Scaling
from hindcast.prep.spec import Spec

FORMAT: Literal["hindcast-sequences"] = "hindcast-sequences"
VERSION: Literal[2] = 2
# What is counted of readings that no split has.
OUTSIDE = "outside"


class Column(BaseModel):
    """A channel, covariate, label or attribute. One with a vocabulary holds codes; `known` says that its future is known."""

    model_config = ConfigDict(frozen=True)
    name: str
    kind: Literal["real", "count", "category"] = "real"
    vocabulary: Vocabulary | None = None
    known: bool = False


class Part(BaseModel):
    """One Parquet file.

    rows, windows, steps  of each of its row groups; steps are those that its rows own
    bytes, sha256, digest of the file: its size, and two hashes; `digest` is XXH3 of 128 bits, which every reader compares
    content               the sum of its rows' hashes
    """

    model_config = ConfigDict(frozen=True)
    path: str
    split: Literal["train", "validation", "test"]
    rows: tuple[int, ...]
    windows: tuple[int, ...]
    steps: tuple[int, ...]
    bytes: int
    sha256: str
    digest: str
    content: str


class Manifest(BaseModel):
    """What the dataset holds, how it was made, and what was dropped or filled on the way.

    series    which split each series belongs to, where whole series were split
    readings  what was prepared, and what was appended to it
    span      steps of the grid that the readings reach over
    counts    what was counted, by split, and under "outside" of readings that belong to none
    digests   split → digest of its rows

    Every file of the dataset is named in `parts` (rows), `tail` (the last steps of each series) or `quarantine` (bad rows), by
    its path in the dataset; Petastorm's `_common_metadata` and this one are the others.
    """

    model_config = ConfigDict(frozen=True)
    format: Literal["hindcast-sequences"]
    version: Literal[2]
    spec: Spec
    channels: tuple[Column, ...]
    covariates: tuple[Column, ...]
    labels: tuple[Column, ...]
    attributes: tuple[Column, ...]
    step_micros: int
    origin_micros: int
    span: int
    borders: dict[str, Border]
    series: SeriesSplit | None
    layout: Layout
    scaling: Scaling
    covariate_scaling: Scaling
    readings: tuple[str, ...]
    parts: tuple[Part, ...]
    # None in a dataset that was written before they were named.
    tail: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()
    counts: dict[str, dict[str, int]]
    digests: dict[str, str]
    versions: dict[str, str]

    @property
    def digest(self) -> str:
        """Of all rows."""
        return added(self.digests.values())

    @property
    def arrays(self) -> tuple[ArrayField, ...]:
        """The array columns of a row; those of no width are not there."""
        length = self.layout.length
        fields = (
            ArrayField("values", "<f4", (length, len(self.channels))),
            ArrayField("observed", "|u1", (length, len(self.channels))),
            ArrayField("covariates", "<f4", (length, len(self.covariates))),
            ArrayField("covariates_observed", "|u1", (length, len(self.covariates))),
            ArrayField("labels", "<i4", (length, len(self.labels))),
            ArrayField("attributes", "<f4", (len(self.attributes),)),
        )
        return tuple(field for field in fields if field.shape[-1])

    def windows(self, split: str) -> int:
        """How many a split has."""
        return sum(sum(part.windows) for part in self.parts if part.split == split)

    def count(self, name: str, *splits: str) -> int:
        """Of these splits; without any, of all, and of what belongs to none."""
        return sum(counts.get(name, 0) for split, counts in self.counts.items() if not splits or split in splits)


def added(digests: Iterable[str]) -> str:
    """The sum of digests modulo 2^256: of a set of rows, whatever their order and whichever files they are in.

    Files themselves differ from run to run in bytes that mean nothing (the order in which a footer lists encodings).
    """
    return f"{sum(int(digest, 16) for digest in digests) % 2**256:064x}"


def parse_manifest(text: str, file: str) -> Manifest:
    """Raises InputError, naming the file, for what is no manifest, or that of another version."""
    try:
        content: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{file}: not JSON ({error}). Prepare the dataset again with `hindcast prep`") from None
    header = (content.get("format"), content.get("version")) if isinstance(content, dict) else (None, None)
    if header != (FORMAT, VERSION):
        raise InputError(
            f"{file}: expected format {FORMAT!r} version {VERSION}, found {header[0]!r} version {header[1]!r}. "
            "Open it with the Hindcast that wrote it, or prepare it again"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{file}: field {'.'.join(map(str, first['loc']))}: {first['msg']}. Prepare the dataset again") from None
