"""Settings: durations, overrides, and messages that name the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hindcast.prep.errors import InputError
from hindcast.prep.spec import Spec, duration_micros, duration_text, override, read_settings, validate

GOOD = {"readings": {"path": "x.csv"}, "windows": {"context": 4, "horizon": 2}}


@pytest.mark.parametrize(
    ("text", "micros"), [("1h", 3_600_000_000), ("5min", 300_000_000), ("0.5s", 500_000), ("1 d", 86_400_000_000)]
)
def test_durations(text: str, micros: int) -> None:
    assert duration_micros(text) == micros


@pytest.mark.parametrize("micros", [86_400_000_000 * 31, 3_600_000_000, 300_000_000, 1_234_567, 50])
def test_durations_are_written_as_they_are_read(micros: int) -> None:
    assert duration_micros(duration_text(micros)) == micros


def test_a_border_may_be_a_date_of_toml(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[readings]\npath = "x.csv"\n[windows]\ncontext = 3\nhorizon = 1\n[split]\ntrain = 2025-03-01\n')
    spec = validate(Spec, read_settings(file, {"split.validation": "2025-04-01T12:00:00"}), where="a")
    assert (spec.split.train, spec.split.validation) == ("2025-03-01", "2025-04-01T12:00:00")


@pytest.mark.parametrize("text", ["", "h", "0s", "-1h", "1 hour", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_micros(text)


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        ("windows", "context", 0),
        ("windows", "horizon", "many"),
        ("windows", "contxt", 5),
        ("grid", "step", "1 lightyear"),
        ("grid", "fill", "magic"),
        ("split", "train", 1.5),
        ("split", "train", "yesterday"),
        ("split", "test", -3),
        ("scaling", "method", "rank"),
    ],
)
def test_a_wrong_field_is_named(table: str, field: str, value: object) -> None:
    tables = {**GOOD, table: {**GOOD.get(table, {}), field: value}}
    with pytest.raises(InputError, match=rf"spec\.toml: {table}\.{field}"):
        validate(Spec, tables, where="spec.toml")


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"add up to 1\.2"):
        validate(Spec, {**GOOD, "split": {"train": 0.9, "validation": 0.1, "test": 0.2}}, where="x")


@pytest.mark.parametrize(
    ("table", "fields", "message"),
    [
        ("readings", {"path": "x", "table": "y"}, "a path and a table were given"),
        ("readings", {"path": "x", "counts": "a", "categories": "a"}, "'a' is named as a count and as a category"),
        ("readings", {"path": "x", "values": "a", "counts": "b"}, "'b' is named as a count or category, and is not among values"),
        ("readings", {"path": "x", "form": "wide", "series": "s"}, "in wide form every column is a series"),
        ("readings", {"path": "x", "time_zone": "Mars/Olympus"}, "not the name of a time zone"),
        ("split", {"by": "series", "train": 100}, "by series, a split is a share"),
        ("split", {"by": "series", "train": ["a"], "validation": ["a"], "test": []}, "series 'a' is in two splits"),
        ("split", {"by": "series", "train": ["a"]}, "every split is a share or every one is a list"),
        ("split", {"by": "series", "origins": 2}, "by series there are none"),
        ("split", {"train": ["a"]}, 'needs by = "series"'),
        ("split", {"embargo": "soon"}, r"split\.embargo"),
        ("windows", {"context": 3, "horizon": 1, "min_observed": 1.5}, r"windows\.min_observed"),
        ("calendar", {"features": ["fortnight"]}, r"calendar\.features"),
    ],
)
def test_fields_that_do_not_fit_together_are_explained(table: str, fields: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate(Spec, {**GOOD, table: fields}, where="spec.toml")


def test_a_column_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="'t' is named twice"):
        validate(Spec, {**GOOD, "readings": {"path": "x", "timestamp": "t", "values": ["t"]}}, where="x")


def test_paths_are_relative_to_the_file_and_overrides_win(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[readings]\npath = "data.csv"\n[windows]\ncontext = 3\nhorizon = 1\n')
    tables = read_settings(file, {"windows.context": "7", "grid.max_gap": "3h", "grid.fill": "none"})
    spec = validate(Spec, tables, where="a")
    assert spec.readings.path == (str(tmp_path / "data.csv"),)
    assert (spec.windows.context, spec.grid.max_gap, spec.grid.fill) == (7, "3h", "none")


def test_an_override_of_several_parts_is_put_into_tables_of_tables() -> None:
    tables: dict[str, Any] = {"entrants": {"wide-2": {"units": 8, "epochs": 3}}}
    override(tables, "entrants.wide-2.units", "256")
    override(tables, "entrants.new.partitions.models", "series")
    assert tables == {"entrants": {"wide-2": {"units": 256, "epochs": 3}, "new": {"partitions": {"models": "series"}}}}
    with pytest.raises(InputError, match=r"^--entrants\.wide-2\.units\.more: units is a value, not a table of values$"):
        override(tables, "entrants.wide-2.units.more", "1")


def test_paths_of_every_table_are_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text(
        '[readings]\npath = ["a.csv", "s3://bucket/b.csv"]\n[attributes]\npath = "c.csv"\nvalues = "site"\n'
        '[[joins]]\npath = "d.csv"\nvalues = "wind"\ntolerance = "1h"\n[windows]\ncontext = 3\nhorizon = 1\n'
    )
    spec = validate(Spec, read_settings(file), where="a")
    assert spec.readings.path == (str(tmp_path / "a.csv"), "s3://bucket/b.csv")
    assert (spec.attributes.path, spec.joins[0].path) == ((str(tmp_path / "c.csv"),), (str(tmp_path / "d.csv"),))


@pytest.mark.parametrize(
    ("name", "content", "message"), [("none", None, "no such settings file"), ("bad", "[a\n", "not a TOML file")]
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_settings(tmp_path / name)
