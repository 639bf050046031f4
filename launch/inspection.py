"""What a dataset holds, in the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from hindcast.launch.watching.progress import console
from hindcast.launch.watching.runs import run
from hindcast.prep.dataset.manifest import OUTSIDE, Column, Manifest
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.errors import InputError
from hindcast.prep.files import storage
from hindcast.prep.grid.splits import SPLITS

# What became of the readings: each is counted once, so in each column these add up to the first.
FATES = {
    "readings_kept": "kept",
    "readings_duplicate": "duplicates, dropped or merged",
    "readings_aggregated": "made one with others of the step",
    "readings_empty": "dropped: empty in every channel",
    "readings_unfilled": "dropped: gap too long in a channel",
    "outside": "dropped: outside of all splits",
}
# What else was done to them, and what came of it.
OTHERS = {
    "readings_late": "readings appended too late, left out",
    "rows_quarantined": "bad rows set aside in _quarantine",
    "readings_moved": "readings moved to the nearest step",
    "values_filled": "missing values filled",
    "values_of_unknown_category": "values of categories unknown to training",
    "series": "series",
    "stretches": "stretches between longer gaps",
    "segments": "segments without a gap",
    "steps": "steps",
    "steps_in_no_window": "steps in no window",
    "windows": "windows",
}
SCALED_BY = {
    "standard": "standard (mean and deviation)",
    "robust": "robust (median and interquartile range)",
    "minmax": "minmax (lowest value and range)",
    "none": "none",
}


def show(dataset: SequenceDataset) -> None:
    """Prints what the dataset was made from and how, its splits, its columns, and what became of the readings."""
    manifest = dataset.manifest
    size = sum(part.bytes for part in manifest.parts)
    head = Text.assemble((dataset.location, "bold"), f"  {size / 1e6:,.1f} MB  digest {dataset.digest[:12]}")
    for line in (head, *_sources(manifest), _windows(manifest), _scaling(manifest)):
        console.print(line, highlight=False)
    for table in (_splits(manifest), _columns(manifest), _counts(manifest)):
        console.print(table)


def record_dataset(dataset: SequenceDataset) -> None:
    """Writes a dataset into the record of the run: its place, readings and windows."""
    run().wrote("dataset", dataset.location)
    for split, counts in dataset.manifest.counts.items():
        for name in ("readings", "windows"):
            if counts.get(name):
                run().count(name, counts[name], dataset=dataset.location.rpartition("/")[2], split=split)


def verify_files(dataset: SequenceDataset) -> None:
    """Raises InputError for the first file that is not what the manifest says."""
    for part in dataset.manifest.parts:
        file = storage.join(dataset.location, part.path)
        if storage.sha256_of(file) != part.sha256:
            raise InputError(f"{file}: its bytes are not those that were written. Prepare the dataset again")


def counts_in_words(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Counts as words → split → number, those of what became of the readings first; without counts that are 0 in every split.

    "outside" is a split where something was counted outside of the splits.
    """
    counts = {split: dict(manifest.counts.get(split, {})) for split in (*SPLITS, OUTSIDE)}
    outside = counts[OUTSIDE]
    # Readings outside the splits have no other fate than those that are counted there.
    outside["outside"] = outside.get("readings", 0) - sum(outside.get(name, 0) for name in FATES)
    names = {"readings": "readings", **{name: f"  {words}" for name, words in FATES.items()}, **OTHERS}
    places = [split for split, numbers in counts.items() if split != OUTSIDE or any(numbers.values())]
    rows = {words: {place: counts[place].get(name, 0) for place in places} for name, words in names.items()}
    return {words: numbers for words, numbers in rows.items() if any(numbers.values())}


def series_count(manifest: Manifest) -> int:
    """How many series the dataset has, whether the splits share them or each has its own."""
    counts = [manifest.counts.get(split, {}).get("series", 0) for split in SPLITS]
    return sum(counts) if manifest.series else max(counts)


def unscaled_channels(manifest: Manifest) -> str:
    """The channels that the scaling leaves as they are, in words; empty where there are none."""
    unscaled = [channel.name for channel in manifest.channels if channel.kind != "real"]
    return f"not scaled: {', '.join(unscaled)}" if unscaled and manifest.scaling.method != "none" else ""


def _sources(manifest: Manifest) -> list[Text]:
    first, *appended = manifest.readings
    return [Text(f"made from {first}"), *([Text(f"appended: {', '.join(appended)}")] if appended else [])]


def _windows(manifest: Manifest) -> Text:
    layout, spec = manifest.layout, manifest.spec
    words = [f"step {manifest.step_micros / 1e6:g} s", f"context {layout.context}"]
    words += [f"lead {layout.lead}"] if layout.lead else []
    words += [f"horizon {layout.horizon}", f"stride {layout.stride}"]
    words += [f"{layout.windows_per_row} windows a row of {layout.length} steps"]
    if spec.windows.min_observed:
        words.append(f"at least {spec.windows.min_observed:.3g} of a window measured")
    return Text(", ".join(words))


def _scaling(manifest: Manifest) -> Text:
    per = ", for each series" if manifest.spec.scaling.per == "series" else ", for all series together"
    words = [SCALED_BY[manifest.scaling.method] + (per if manifest.scaling.method != "none" else "")]
    words += [text for text in (unscaled_channels(manifest),) if text]
    return Text(f"scaling: {'; '.join(words)}")


def _splits(manifest: Manifest) -> Table:
    table = Table("split", "from", "to", box=None, header_style="bold")
    for name in ("windows", "rows", "files"):
        table.add_column(name, justify="right")
    for split in SPLITS:
        border, parts = manifest.borders[split], [part for part in manifest.parts if part.split == split]
        numbers = (manifest.windows(split), sum(sum(part.rows) for part in parts), len(parts))
        table.add_row(split, border.start_time, border.stop_time, *(f"{number:,}" for number in numbers))
    spec = manifest.spec.split
    if manifest.series is not None:
        table.caption = "each series belongs to one split: " + ("those named" if manifest.series.named else f"seed {spec.seed}")
    elif spec.embargo:
        embargo = spec.embargo if isinstance(spec.embargo, str) else f"{spec.embargo} steps"
        table.caption = f"after each border, an embargo of {embargo} belongs to no split"
    table.caption_justify = "left"
    return table


def _columns(manifest: Manifest) -> Table:
    """Every column with its part, kind and scale; those of a calendar have none."""
    table = Table("column", "part", "kind", box=None, header_style="bold")
    for name in ("centre", "scale"):
        table.add_column(name, justify="right")
    for number, channel in enumerate(manifest.channels):
        scaled = channel.kind == "real"
        affine = manifest.scaling.overall
        _add(table, channel, "channel", (affine.centre[number], affine.scale[number]) if scaled else None)
    affine = manifest.covariate_scaling.overall
    for number, covariate in enumerate(manifest.covariates):
        part = "covariate, known in advance" if covariate.known else "covariate, known until now"
        _add(table, covariate, part, (affine.centre[number], affine.scale[number]) if number < len(affine.centre) else None)
    for label in manifest.labels:
        _add(table, label, "label", None)
    for attribute in manifest.attributes:
        _add(table, attribute, "attribute", None)
    return table


def _add(table: Table, column: Column, part: str, scale: tuple[float, float] | None) -> None:
    words = column.vocabulary
    kind = column.kind if words is None else f"{column.kind}, {len(words.words):,} word{'s' if len(words.words) != 1 else ''}"
    table.add_row(Text(column.name), part, kind, *(f"{number:.6g}" for number in scale or ()))


def _counts(manifest: Manifest) -> Table:
    rows = counts_in_words(manifest)
    table = Table("what", box=None, header_style="bold")
    for place in (*next(iter(rows.values()), {}), "all"):
        table.add_column(place, justify="right")
    for words, numbers in rows.items():
        total = series_count(manifest) if words == "series" else sum(numbers.values())
        table.add_row(words, *(f"{number:,}" for number in (*numbers.values(), total)))
    return table
