"""Settings from a file and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hindcast.launch.demo import fleet_tables, toml
from hindcast.launch.settings import load, load_spec
from hindcast.prep.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lstm.epochs": "zero"}, r"command line: lstm\.epochs: .*found 'zero'"),
        ({"hmm.stats": "3"}, r"command line: hmm\.stats: "),
        ({"lstn.epochs": "3"}, "no table 'lstn'; the tables are .*lstm"),
        ({"windows.horizon": "3"}, r"--windows\.horizon: decides what a dataset holds"),
        ({"cluster.ranks": "0"}, r"cluster\.ranks"),
        ({"entrants.wide.units": "3"}, r'entrants\.wide\.kind: found none, expected one of hmm, lstm: kind = "hmm"'),
        ({"entrants.wide.kind": "forest"}, r"entrants\.wide\.kind: found 'forest', expected one of hmm, lstm"),
        ({"entrants.wide.kind": "lstm", "entrants.wide.units": "0"}, r"entrants\.wide: units: .* found 0"),
        ({"entrants.wide.kind": "hmm", "entrants.wide.units": "8"}, r"entrants\.wide: units: .* found 8"),
        (
            {"entrants.wide.kind": "lstm", "entrants.wide.partitions": "3"},
            r"wide\.partitions: found 3, expected a table",
        ),
    ],
)
def test_wrong_fields_are_named(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(None, overrides)


def test_one_file_holds_what_to_prepare_and_how_to_fit() -> None:
    spec, settings = load_spec(ROOT / "examples" / "etth1.toml", {"lstm.epochs": "2", "windows.horizon": "24"})
    assert (spec.windows.horizon, spec.split.train, settings.lstm.epochs) == (24, 8640, 2)
    assert [Path(path).resolve() for path in spec.readings.path] == [ROOT / "ETTh1.csv"]
    assert load(ROOT / "examples" / "etth1.toml", {}).hmm == load(None, {}).hmm


def test_settings_that_the_demo_writes_are_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(toml(fleet_tables()))
    spec, settings = load_spec(file, {})
    assert spec.readings.path == (str(tmp_path / "readings.csv"),)
    assert settings.lstm.max_seconds == 120


def test_an_entrant_differs_from_the_tables_of_its_kind_in_what_it_says() -> None:
    fields = {"kind": "lstm", "units": "256", "partitions.models": "averaged"}
    settings = load(None, {"lstm.batch": "64", **{f"entrants.wide-2.{field}": text for field, text in fields.items()}})
    kind, tables = settings.entrant("wide-2")
    assert (kind.name, tables["lstm"].units, tables["lstm"].batch, tables["partitions"].models) == ("lstm", 256, 64, "averaged")
    own = settings.of(kind)
    assert (own["lstm"].units, own["lstm"].batch, own["partitions"].models) == (128, 64, "series")
