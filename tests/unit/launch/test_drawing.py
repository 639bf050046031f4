"""`hindcast draw`: what it writes, what follows it, and what it refuses."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from hindcast.launch.cli.main import main
from hindcast.launch.demo import draw_fleet
from hindcast.launch.drawing import SUBJECTS, draw_readings
from hindcast.prep.synthetic import fleet, transformer


def draw(subject: str, out: Path, steps: int | None = None, skip: int = 0, seed: int = 7, overwrite: bool = False) -> list[str]:
    draw_readings(subject, out, steps, skip, seed, overwrite)
    return out.read_text().splitlines()


def test_a_fleet_is_that_of_the_demo(tmp_path: Path) -> None:
    draw_fleet(tmp_path)
    drawn = draw("fleet", tmp_path / "fleet.csv")
    assert drawn == (tmp_path / "readings.csv").read_text().splitlines()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.csv", "readings.csv", "regimes.csv"]


def test_a_transformer_has_the_columns_and_the_hours_of_etth1(tmp_path: Path) -> None:
    rows = list(csv.reader(draw("transformer", tmp_path / "t.csv")))
    assert rows[0] == ["date", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"]
    assert len(rows) == 1 + 17_420
    assert (rows[1][0], rows[-1][0]) == ("2016-07-01 00:00:00", "2018-06-26 19:00:00")
    times = np.array([row[0] for row in rows[1:]], "datetime64[s]")
    assert set(np.diff(times).astype(int)) == {3600}


def test_a_transformers_load_follows_the_day_and_the_week_and_passes_through() -> None:
    values = transformer.draw(24 * 7 * 40, seed=3)
    assert np.isfinite(values).all()
    days = (values - values.mean(axis=0)).reshape(-1, 24, 7)[..., 2]
    assert np.corrcoef(days[:-1].ravel(), days[1:].ravel())[0, 1] > 0.5
    swings = np.ptp(days.reshape(40, 7, 24).mean(axis=0), axis=1)  # the first day is a Friday
    assert swings[[1, 2]].max() < 0.9 * swings[[0, 3, 4, 5, 6]].min()
    np.testing.assert_allclose(values[:, 0], values[:, 2] + values[:, 4])
    np.testing.assert_allclose(values[:, 1], values[:, 3] + values[:, 5])


@pytest.mark.parametrize("steps", [1, 500])
def test_a_transformer_goes_on_where_it_was_left(tmp_path: Path, steps: int) -> None:
    whole = draw("transformer", tmp_path / "whole.csv", 600 + steps)
    before = draw("transformer", tmp_path / "before.csv", 600)
    after = draw("transformer", tmp_path / "after.csv", steps, skip=600)
    assert before + after[1:] == whole
    assert draw("transformer", tmp_path / "other.csv", 600, seed=8) != before


def test_a_fleet_goes_on_where_it_was_left() -> None:
    before, after = fleet.draw(40, 300, 7), fleet.draw(40, 300, 7, skip=300)
    assert after.times()[0] - before.times()[-1] == np.timedelta64(3600, "s")
    assert after.sensors == before.sensors
    # Between neighbouring hours most sensors stay in their regime, and near their level, across the seam as elsewhere.
    assert (before.regimes[:, -1] == after.regimes[:, 0]).mean() > 0.8
    stayed = before.regimes[:, -1] == after.regimes[:, 0]
    steps = np.abs(np.diff(before.values, axis=1)).mean(axis=(0, 1))
    assert (np.abs(after.values[stayed, 0] - before.values[stayed, -1]).mean(axis=0) < 2 * steps).all()


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("steps", [1, 2, 30])
def test_few_hours_are_drawn_as_well(tmp_path: Path, subject: str, steps: int) -> None:
    for seed in range(20):
        assert draw(subject, tmp_path / "few.csv", steps, seed=seed, overwrite=True)[0].count(",") >= 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["boat", "x.csv"], "draw boat: expected one of fleet, transformer"),
        (["fleet", "x.parquet"], "x.parquet: expected a name that ends in .csv"),
        (["fleet", "there.csv"], "there.csv: is there already; --overwrite replaces it"),
        (["fleet", "nowhere/x.csv"], "does not exist"),
        (["fleet", "x.csv", "--steps", "0"], "--steps 0: expected 1 or more"),
        (["fleet", "x.csv", "--skip", "-1"], "--skip -1: expected 0 or more"),
        (["fleet", "x.csv", "--seed", "-1"], "--seed -1: expected 0 or more"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_a_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.csv").write_text("mine")
    monkeypatch.setattr("sys.argv", ["hindcast", "draw", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    printed = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert said in printed
    assert "\n" not in printed
    assert [path.name for path in Path().iterdir()] == ["there.csv"]
    assert Path("there.csv").read_text() == "mine"


def test_what_is_there_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    assert draw("fleet", tmp_path / "there.csv", 20, overwrite=True)[0] == "time,sensor,temperature,pressure,vibration"
