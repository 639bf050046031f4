"""What a dataset holds, in the terminal."""

from __future__ import annotations

from rich.table import Table

from launch.progress import console
from prep.dataset import SPLITS, SequenceDataset
from prep.errors import InputError
from prep.writing import sha256_of

# Every count is shown; those that cost the user data come with what they mean.
COUNTS = {
    "rows_kept": "readings understood",
    "rows_quarantined": "bad rows set aside in _quarantine",
    "duplicates_dropped": "duplicates dropped or merged",
    "readings_moved_to_grid": "readings moved to the nearest step",
    "readings_not_kept": "readings outside the splits, or where a channel is missing for too long",
    "readings_kept": "readings in the dataset",
    "values_filled": "missing values filled",
    "series": "series",
    "stretches": "stretches between longer gaps",
}


def show(dataset: SequenceDataset) -> None:
    """Prints splits, layout, channels and counts."""
    manifest, layout = dataset.manifest, dataset.layout
    size = sum(part.bytes for part in manifest.parts)
    console.print(f"[bold]{dataset.path}[/]  {size / 1e6:,.1f} MB  digest {dataset.digest[:12]}", highlight=False)
    console.print(
        f"step {manifest.step_micros / 1e6:g} s, context {layout.context}, horizon {layout.horizon}, stride {layout.stride}, "
        f"{layout.windows_per_row} windows a row of {layout.length} steps; scaling: {manifest.scaling.method}, "
        f"{manifest.spec.scaling.per}",
        highlight=False,
    )
    splits = Table("split", "from", "to", box=None, header_style="bold")
    for name in ("windows", "rows", "files"):
        splits.add_column(name, justify="right")
    for split in SPLITS:
        border, parts = manifest.borders[split], [part for part in manifest.parts if part.split == split]
        numbers = (sum(sum(part.windows) for part in parts), sum(sum(part.rows) for part in parts), len(parts))
        splits.add_row(split, border.start_time, border.stop_time, *(f"{number:,}" for number in numbers))
    console.print(splits)
    channels = Table("channel", box=None, header_style="bold")
    channels.add_column("centre", justify="right")
    channels.add_column("scale", justify="right")
    for name, centre, scale in zip(
        dataset.channels, manifest.scaling.overall.centre, manifest.scaling.overall.scale, strict=True
    ):
        channels.add_row(name, f"{centre:.6g}", f"{scale:.6g}")
    console.print(channels)
    for name, meaning in COUNTS.items():
        console.print(f"{manifest.counts[name]:>12,}  {meaning}", highlight=False)


def verify_files(dataset: SequenceDataset) -> None:
    """Raises InputError for the first file that is not what the manifest says."""
    for part in dataset.manifest.parts:
        if sha256_of(dataset.path / part.path) != part.sha256:
            raise InputError(f"{dataset.path / part.path}: its bytes are not those that were written. Prepare the dataset again")
