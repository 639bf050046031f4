"""Settings from a file and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from launch.demo import fleet_tables, toml
from launch.settings import load, load_spec, split_overrides
from prep.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


def test_fields_are_told_from_options() -> None:
    arguments = ["--debug", "prep", "--windows.horizon", "96", "a.toml", "--lstm.epochs=3", "--out", "b", "--grid.step=1h"]
    kept, overrides = split_overrides(arguments)
    assert kept == ["--debug", "prep", "a.toml", "--out", "b"]
    assert overrides == {"windows.horizon": "96", "lstm.epochs": "3", "grid.step": "1h"}


def test_a_field_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"--windows\.horizon: a value is missing"):
        split_overrides(["--windows.horizon"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lstm.epochs": "zero"}, r"command line: lstm\.epochs: .*found 'zero'"),
        ({"hmm.stats": "3"}, r"command line: hmm\.stats: "),
        ({"lstn.epochs": "3"}, "no table 'lstn'; the tables are .*lstm"),
        ({"windows.horizon": "3"}, r"--windows\.horizon: decides what a dataset holds"),
        ({"cluster.ranks": "0"}, r"cluster\.ranks"),
    ],
)
def test_wrong_fields_are_named(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(None, overrides)


def test_one_file_holds_what_to_prepare_and_how_to_fit() -> None:
    spec, settings = load_spec(ROOT / "examples" / "etth1.toml", {"lstm.epochs": "2", "windows.horizon": "24"})
    assert (spec.windows.horizon, spec.split.train, settings.lstm.epochs) == (24, 8640, 2)
    assert load(ROOT / "examples" / "etth1.toml", {}).hmm == load(None, {}).hmm


def test_settings_that_the_demo_writes_are_settings(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(toml(fleet_tables()))
    spec, settings = load_spec(file, {})
    assert spec.readings.path == (str(tmp_path / "readings.csv"),)
    assert settings.lstm.max_seconds == 120
