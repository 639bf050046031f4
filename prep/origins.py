"""Rolling origins: the same readings split at several times, a dataset for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.files import storage
from hindcast.prep.files.names import ORIGINS
from hindcast.prep.files.placing import holds
from hindcast.prep.files.targets import placed, refuse_taken
from hindcast.prep.pipeline import load, write
from hindcast.prep.spec import Spec

must_be_origins = holds(ORIGINS, "a folder of rolling origins")


def prepare_origins(
    spark: SparkSession,
    spec: Spec,
    out: str | Path,
    *,
    readings: DataFrame | None = None,
    joins: Sequence[DataFrame] | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] = lambda text: None,
) -> list[SequenceDataset]:
    """Datasets `out`/origin-0, origin-1 …, the earliest origin first. The last is split as the spec says; in each before it every
    border lies `split.every` earlier, so that training sees less and what it is tested on moves through the past.

    Each is a dataset of its own, with scaling from its own training split. `out` is a path or a URI, as `prepare` takes it; under
    a URI each origin is replaced whole, one after the other. Raises InputError as `prepare` does; then nothing is there.
    """
    refuse_taken(str(out), overwrite, must_be_origins)
    on_stage("reading")
    source = load(spark, spec, readings, joins)
    names = [f"origin-{number}" for number in range(spec.split.origins)]
    with placed(str(out), overwrite, must_be_origins) as target:
        for number, name in enumerate(names):
            on_stage(f"origin {number + 1} of {len(names)}")
            write(source, str(target.folder / name), False, on_stage, origin=len(names) - 1 - number)
        (target.folder / ORIGINS).write_text(json.dumps({"datasets": names}) + "\n", encoding="utf-8")
    return [SequenceDataset.open(storage.join(str(out), name)) for name in names]
