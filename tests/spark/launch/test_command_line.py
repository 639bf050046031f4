"""The commands as a user types them, in one process: what they write, what they print, and what they refuse."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from hindcast.classical import hmm
from hindcast.launch.models import load_any
from hindcast.prep.dataset.windows import Given
from tests.spark.running import Run

SPEC = """
[readings]
path = "readings.csv"
timestamp = "time"
series = "sensor"
[windows]
context = 24
horizon = 8
[hmm]
states = 2
iterations = 3
[lstm]
units = 8
epochs = 1
[cluster]
on = "local"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two daily sensors over three weeks, and settings for them."""
    folder = tmp_path_factory.mktemp("données #1, 100 %")  # as folders of laptops are called
    hours = np.arange(504)
    rng = np.random.default_rng(0)
    times = np.datetime_as_string(np.datetime64("2025-01-01T00") + hours, "s")
    values = 20 + 5 * np.sin(hours * 2 * np.pi / 24) + rng.normal(0, 0.3, (2, 504))
    lines = [
        f"{time},{name},{v:.3f},{2 * v:.3f}"
        for name, row in zip("ab", values, strict=True)
        for time, v in zip(times, row, strict=True)
    ]
    (folder / "readings.csv").write_text("\n".join(["time,sensor,heat,load", *lines]) + "\n")
    (folder / "spec.toml").write_text(SPEC)
    return folder


@pytest.fixture
def made(run: Run, folder: Path) -> Path:
    """The folder with a dataset and both models in it, made by the commands, once."""
    if not (folder / "lstm").exists():
        status, printed = run("prep", folder / "spec.toml", folder / "data.seq")
        assert status == 0, printed
        for kind in ("hmm", "lstm"):
            status, printed = run("fit", kind, folder / "data.seq", "--out", folder / kind, "--settings", folder / "spec.toml")
            assert status == 0, printed
    return folder


def test_inspect_shows_splits_and_counts(run: Run, made: Path) -> None:
    status, printed = run("inspect", made / "data.seq", "--verify")
    assert status == 0
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    for expected in (
        "step 3600 s, context 24, horizon 8, stride 1",
        "scaling: standard (mean and deviation), for all series together",
        "what train validation test all",
        "readings 706 100 202 1,008",
        "kept 706 100 202 1,008",
        "series 2 2 2 2",
        "windows 644 86 188 918",
    ):
        assert any(line.startswith(expected) for line in lines), expected
    assert any(line.startswith("heat channel real ") for line in lines)
    assert "dropped" not in printed
    assert run("inspect", (made / "data.seq").as_uri(), "--verify") == (status, printed)


@pytest.mark.parametrize("kind", ["hmm", "lstm"])
def test_forecasts_are_written_in_sensor_units_with_what_happened(run: Run, made: Path, kind: str) -> None:
    out = made / f"{kind}.parquet"
    status, printed = run("forecast", made / kind, made / "data.seq", "--out", out)
    assert status == 0, printed
    table = pq.read_table(out).to_pandas()
    windows = 2 * (101 - 8 + 1)
    assert len(table) == windows * 8 * 2
    assert set(table.channel) == {"heat", "load"}
    assert ((table.time - table.issued) == table.step * np.timedelta64(1, "h")).all()
    heat = table[table.channel == "heat"]
    assert heat.actual.between(12, 28).all()
    assert (heat["mean"] - heat.actual).abs().mean() < 6
    assert heat.deviation.notna().all() == (kind == "hmm")


@pytest.mark.parametrize("kind", ["hmm", "lstm"])
def test_a_file_of_readings_is_forecast_from_its_end(run: Run, made: Path, kind: str) -> None:
    """With a third sensor that has too few."""
    table = readings_of(made)
    few = table.tail(5).assign(sensor="c")
    pd.concat([table, few]).to_csv(made / "now.csv", index=False, date_format="%Y-%m-%dT%H:%M:%S")
    out = made / f"now-{kind}.parquet"
    status, printed = run("forecast", made / kind, made / "now.csv", "--out", out)
    assert status == 0, printed
    assert "not forecast: 1 series, fewer than 24 steps of readings, the context" in printed
    assert f"{2 * 8 * 2} forecast steps of 2 series: {out}" in printed
    found = pq.read_table(out).to_pandas()
    assert list(found[found.reason.notna()].series) == ["c"]
    model = load_any(made / kind)
    assert model.card is not None
    centre, scale = model.card.data.scaling.of(["a"])
    for sensor in "ab":
        last = table[table.sensor == sensor].sort_values("time").tail(24)
        scaled = ((last[["heat", "load"]].to_numpy() - centre) / scale).astype(np.float32)
        expected = model.forecast(Given.of(scaled)).in_units(centre, scale)
        rows = found[(found.series == sensor) & found.reason.isna()].sort_values(["step", "channel"])
        assert set(rows.issued) == {last.time.iloc[-1]}
        np.testing.assert_allclose(rows["mean"].to_numpy().reshape(8, 2), expected.mean[0], rtol=1e-5)
        assert rows.deviation.notna().all() == (expected.deviation is not None)
    shutil.copytree(made / kind, made / f"older-{kind}")
    card = json.loads((made / kind / "model.json").read_text())
    card["data"]["preparation"] = None
    (made / f"older-{kind}" / "model.json").write_text(json.dumps(card))
    status, printed = run("forecast", made / f"older-{kind}", made / "now.csv", "--out", made / "no.csv")
    assert (status, "was written by an earlier Hindcast" in printed, len(printed.splitlines())) == (2, True, 1)


@pytest.mark.cluster
def test_a_fit_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(run: Run, made: Path) -> None:
    fit = ["fit", "hmm", "--settings", str(made / "spec.toml"), "--hmm.iterations", "30", "--hmm.tolerance", "0"]
    killed, whole = made / "killed.hmm", made / "whole.hmm"
    checkpoint = made / "killed.hmm.checkpoint"
    assert run("fit", "hmm", made / "data.seq", "--out", killed, "--resume")[0] == 2
    command = [sys.executable, "-m", "hindcast", *fit, str(made / "data.seq"), "--out", str(killed)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        limit = time.monotonic() + 300
        while not checkpoint.exists() and process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert checkpoint.exists()
    assert not killed.exists()
    status, printed = run(*fit, made / "data.seq", "--out", killed, "--resume")
    assert status == 0, printed
    assert not checkpoint.exists()
    assert run(*fit, made / "data.seq", "--out", whole)[0] == 0
    assert (killed / "parameters.json").read_bytes() == (whole / "parameters.json").read_bytes()


def test_csv_holds_the_same_forecasts(run: Run, made: Path) -> None:
    for suffix in (".csv", ".parquet"):
        assert run("forecast", made / "hmm", made / "data.seq", "--out", made / f"f{suffix}", "--split", "validation")[0] == 0
    text, binary = pa_csv.read_csv(made / "f.csv"), pq.read_table(made / "f.parquet")
    np.testing.assert_allclose(text["mean"].to_numpy(), binary["mean"].to_numpy(), rtol=1e-6)


def test_compare_writes_a_page_and_the_same_numbers_beside_it(run: Run, made: Path) -> None:
    status, printed = run(
        "compare",
        made / "data.seq",
        "--out",
        made / "report",
        "--model",
        f"hmm={made / 'hmm'}",
        "--model",
        f"lstm={made / 'lstm'}",
    )
    assert status == 0, printed
    scores = json.loads((made / "report" / "scores.json").read_text())
    assert set(scores["models"]) == {"repeat-last", "seasonal-naive", "linear", "lstm", "hmm"}
    page = (made / "report" / "report.html").read_text()
    for name, row in scores["models"].items():
        assert {"mse", "mae", "mase", "fit_seconds", "fit_cpu_seconds", "parameters"} <= row.keys()
        assert np.isfinite(row["mse"])
        assert name in printed
        assert name in page
        assert f"{row['mse']:.4f}" in printed
    assert len(scores["models"]["linear"]["mse_by_step"]) == 8
    assert scores["models"]["linear"]["mse"] < scores["models"]["repeat-last"]["mse"]
    assert scores["test_windows"] == 188


def test_compare_takes_a_file_name_too(run: Run, made: Path) -> None:
    out = made / "elsewhere" / "which.html"
    assert run("compare", made / "data.seq", "--out", out, *both(made))[0] == 0
    assert out.is_file()
    assert (out.parent / "scores.json").is_file()


def other_dataset(run: Run, made: Path, name: str, *overrides: object) -> Path:
    if not (made / name).exists():
        status, printed = run("prep", made / "spec.toml", made / name, *overrides)
        assert status == 0, printed
    return made / name


def test_a_model_of_other_channels_is_refused(run: Run, made: Path) -> None:
    other = other_dataset(run, made, "heat.seq", "--readings.values", "heat")
    for kind in ("hmm", "lstm"):
        status, printed = run("forecast", made / kind, other, "--out", made / "x.csv")
        assert status == 2
        assert f"{made / kind}: the model's channels: heat, load; those of {other}: heat" in printed
    assert not (made / "x.csv").exists()


def test_a_model_of_other_windows_is_refused(run: Run, made: Path) -> None:
    other = other_dataset(run, made, "short.seq", "--windows.horizon", "4")
    status, printed = run("compare", other, "--out", made / "r2", "--model", f"hmm={made / 'hmm'}")
    assert status == 2
    assert "the model's horizon: 8; those of" in printed


def test_a_lead_is_skipped_by_every_model_and_said(run: Run, made: Path) -> None:
    ahead = other_dataset(run, made, "ahead.seq", "--windows.lead", "5")
    status, printed = run("forecast", made / "hmm", ahead, "--out", made / "x.csv")
    assert status == 2
    assert "the model's lead: 0; those of" in printed
    status, printed = run("compare", ahead, "--out", made / "ahead", "--settings", made / "spec.toml")
    assert status == 0, printed
    page, scores = ((made / "ahead" / name).read_text() for name in ("report.html", "scores.json"))
    assert "<dt>Skips</dt><dd>5\u00a0h <small>5 steps</small>" in page
    found = json.loads(scores)
    assert (found["lead"], found["test_windows"]) == (5, 2 * (101 - 8 + 1))
    # A day is a day: after a lead that is not heeded, these would be a quarter of the wave off.
    noise = (0.3 / (5 / 2**0.5)) ** 2
    assert found["models"]["seasonal-naive"]["mse"] < 2.5 * noise
    assert found["models"]["linear"]["mse"] < 2 * noise
    assert found["models"]["hmm"]["mse"] < 0.3 * found["models"]["repeat-last"]["mse"]
    assert run("fit", "hmm", ahead, "--out", made / "ahead.hmm", "--settings", made / "spec.toml")[0] == 0
    assert run("forecast", made / "ahead.hmm", ahead, "--out", made / "ahead.parquet")[0] == 0
    table = pq.read_table(made / "ahead.parquet").to_pandas()
    assert sorted(set(table.step)) == list(range(6, 14))
    assert ((table.time - table.issued) == table.step * np.timedelta64(1, "h")).all()
    heat = table[table.channel == "heat"].merge(readings_of(made), left_on=["series", "time"], right_on=["sensor", "time"])
    assert len(heat) == 8 * found["test_windows"]
    np.testing.assert_allclose(heat.actual, heat.heat, atol=1e-3)


def both(made: Path) -> list[str]:
    """The models that were fitted already, as entrants."""
    return ["--model", f"hmm={made / 'hmm'}", "--model", f"lstm={made / 'lstm'}"]


def readings_of(made: Path) -> Any:
    return pa_csv.read_csv(made / "readings.csv").to_pandas()


def test_categories_are_refused_before_anything_is_fitted(run: Run, made: Path) -> None:
    table = readings_of(made)
    table["mode"] = np.where(table.heat > 20, "warm", "cold")
    table.to_csv(made / "words.csv", index=False, date_format="%Y-%m-%dT%H:%M:%S")
    columns = ["--readings.path", made / "words.csv", "--readings.values", '["heat", "mode"]', "--readings.categories", "mode"]
    words = other_dataset(run, made, "words.seq", *columns)
    for command in (("fit", "hmm"), ("fit", "lstm"), ("compare",), ("forecast", made / "hmm")):
        status, printed = run(*command, words, "--out", made / "no.csv")
        assert status == 2
        assert len(printed.strip().splitlines()) == 1
        if command[0] != "forecast":
            assert "words.seq: channel 'mode' is a category, and models forecast numbers" in printed
    assert not (made / "no.csv").exists()


def test_a_category_alone_is_fitted_and_not_forecast(run: Run, made: Path) -> None:
    table = readings_of(made)
    table["mode"] = np.where(table.heat > 20, "warm", "cold")
    table.to_csv(made / "modes.csv", index=False, date_format="%Y-%m-%dT%H:%M:%S")
    columns = ["--readings.path", made / "modes.csv", "--readings.values", "mode", "--readings.categories", "mode"]
    modes, out = other_dataset(run, made, "modes.seq", *columns), made / "modes.hmm"
    status, printed = run("fit", "hmm", modes, "--out", out, "--hmm.emission", "categorical", "--hmm.iterations", "20")
    assert status == 0, printed
    model = hmm.load(out)
    assert set(model.predict([[0], [0], [1], [1]])) == {0, 1}
    for command in (
        ("forecast", out, modes),
        ("forecast", out, made / "readings.csv"),
        ("compare", modes, "--model", f"a={out}"),
    ):
        status, printed = run(*command, "--out", made / "no.csv")
        assert (status, len(printed.strip().splitlines())) == (2, 1)
        assert re.search("forecasts? (no )?numbers", printed), printed
    status, printed = run("fit", "hmm", made / "data.seq", "--out", made / "no", "--hmm.emission", "poisson")
    assert status == 2
    assert "channels 'heat', 'load' are numbers, and `fit hmm` with these settings takes counts" in printed
    status, printed = run("fit", "hmm", modes, "--out", made / "no", "--hmm.symbols", "3")
    assert status == 2
    assert "hmm: symbols is of emission categorical, found emission autoregressive: leave it out" in printed


def test_what_models_leave_aside_is_said_in_a_line(run: Run, made: Path) -> None:
    daily = other_dataset(run, made, "daily.seq", "--calendar.features", "hour")
    status, printed = run("fit", "hmm", daily, "--out", made / "daily.hmm", "--settings", made / "spec.toml")
    assert status == 0, printed
    assert printed.splitlines()[0] == "Inputs of LSTMs alone: covariates (hour_sin, hour_cos)."
    assert (
        "Not used" not in run("fit", "hmm", made / "data.seq", "--out", made / "again.hmm", "--settings", made / "spec.toml")[1]
    )


def test_without_validation_models_are_fitted_and_compared(run: Run, made: Path) -> None:
    two = other_dataset(run, made, "two.seq", "--split.train", "0.8", "--split.validation", "0.0")
    status, printed = run("compare", two, "--out", made / "two", "--settings", made / "spec.toml")
    assert status == 0, printed
    assert '<th scope="row">validation</th>' not in (made / "two" / "report.html").read_text()


def test_append_adds_later_readings_and_says_so(run: Run, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data.seq", tmp_path / "longer.seq")
    later = np.datetime_as_string(np.datetime64("2025-01-01T00") + np.arange(500, 552), "s")
    lines = [f"{time},{name},20.0,40.0" for name in "ab" for time in later]
    (tmp_path / "later.csv").write_text("\n".join(["time,sensor,heat,load", *lines]) + "\n")
    status, printed = run("append", tmp_path / "longer.seq", tmp_path / "later.csv")
    assert status == 0, printed
    lines = [" ".join(line.split()) for line in printed.splitlines()]
    assert f"appended: {tmp_path / 'later.csv'}" in lines
    assert "kept 706 100 298 0 1,104" in lines
    assert "readings appended too late, left out 0 0 0 8 8" in lines


def test_several_origins_make_a_dataset_each_and_all_are_shown(run: Run, made: Path) -> None:
    status, printed = run("prep", made / "spec.toml", made / "rolled", "--split.origins", "2", "--split.every", "2d")
    assert status == 0, printed
    assert [f"origin-{number}  " in printed for number in range(3)] == [True, True, False]
    assert run("inspect", made / "rolled" / "origin-1")[0] == 0
    status, printed = run("prep", made / "spec.toml", made / "rolled", "--split.origins", "2")
    assert (status, "is there already" in printed) == (2, True)


BAD = {
    "no settings": (("prep", "nowhere.toml", "x.seq"), "nowhere.toml: no such settings file"),
    "no readings": (("prep", "spec.toml", "x.seq", "--readings.path", "nowhere.csv"), "nowhere.csv: no such file"),
    "no column": (
        ("prep", "spec.toml", "x.seq", "--readings.values", "cold"),
        "no column 'cold'; the columns are time, sensor, heat, load",
    ),
    "bad field": (("prep", "spec.toml", "x.seq", "--windows.context", "many"), "spec.toml: windows.context: "),
    "long horizon": (("prep", "spec.toml", "x.seq", "--windows.horizon", "400"), "train: no segment is long enough"),
    "no folder": (("prep", "spec.toml", "no/such/x.seq"), "no/such does not exist"),
    "not writable": (("prep", "spec.toml", "/proc/x.seq"), "/proc/x.seq: cannot be written"),
    "taken": (("prep", "spec.toml", "data.seq"), "data.seq: is there already; --overwrite replaces it"),
    "nothing to append": (("append", "data.seq", "nowhere.csv"), "nowhere.csv: no such file"),
    "nothing to append to": (("append", "nothing.seq", "readings.csv"), "nothing.seq: no such dataset"),
    "not a dataset": (("inspect", "."), "not a Hindcast dataset"),
    "no dataset": (("compare", "nothing.seq", "--out", "r"), "nothing.seq: no such dataset"),
    "not a model": (("forecast", "data.seq", "data.seq", "--out", "x.csv"), "data.seq: not a Hindcast model"),
    "no entrant's name": (("compare", "data.seq", "--out", "r", "--model", "lstm"), "--model lstm: expected NAME=FOLDER"),
    "a name twice": (
        ("compare", "data.seq", "--out", "r", "--fit", "hmm", "--fit", "hmm"),
        "entrant 'hmm': the name is given twice",
    ),
    "a baseline's name": (("compare", "data.seq", "--out", "r", "--fit", "linear=hmm"), "'linear': is the name of a baseline"),
    "no kind": (
        ("compare", "data.seq", "--out", "r", "--fit", "forest"),
        "--fit forest: no kind of models 'forest'; there are hmm",
    ),
    "no kind to fit": (("fit", "forest", "data.seq", "--out", "r"), "fit: no kind of models 'forest'; there are hmm, lstm"),
    "no table of a kind": (("compare", "data.seq", "--out", "r", "--forest.trees", "3"), "no table 'forest'; the tables are"),
    "settings for none": (("inspect", "data.seq", "--lstm.epochs", "3"), "--lstm.epochs: `hindcast inspect` has no settings"),
    "no split": (
        ("forecast", "hmm", "data.seq", "--out", "x.csv", "--split", "future"),
        "expected one of train, validation, test",
    ),
    "no readings to forecast": (("forecast", "hmm", "nowhere.csv", "--out", "x.csv"), "nowhere.csv: no such file"),
    "readings have no splits": (
        ("forecast", "hmm", "readings.csv", "--out", "x.csv", "--split", "test"),
        "readings.csv holds readings, and only a dataset has splits",
    ),
    "readings, no suffix": (("forecast", "hmm", "readings.csv", "--out", "x"), "expected a name that ends in .csv or .parquet"),
    "readings, no model": (("forecast", "data.seq", "readings.csv", "--out", "x.csv"), "data.seq: not a Hindcast model"),
    "a dataset and a master": (
        ("forecast", "hmm", "data.seq", "--out", "x.csv", "--cluster.master", "local[1]"),
        "--cluster.master: a dataset is forecast without settings",
    ),
    "no suffix": (("forecast", "hmm", "data.seq", "--out", "x"), "expected a name that ends in .csv or .parquet"),
    "model taken": (("fit", "hmm", "data.seq", "--out", "hmm"), "hmm: is there already; --overwrite replaces it"),
    "not ours to replace": (("fit", "hmm", "data.seq", "--out", "data.seq", "--overwrite"), "data.seq: not a Hindcast model"),
}


@pytest.mark.parametrize("fault", sorted(BAD))
def test_bad_input_ends_in_one_clear_line_and_changes_nothing(
    run: Run, made: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.chdir(made)
    before = sorted(made.rglob("*"))
    arguments, message = BAD[fault]
    status, printed = run(*arguments)
    assert status == 2
    assert message in printed
    assert printed.strip().startswith("hindcast: ")
    assert len(printed.strip().splitlines()) == 1
    assert sorted(path for path in made.rglob("*") if path.name != "r") == [path for path in before if path.name != "r"]


WRITERS = {
    "prep": (("prep", "spec.toml", "w/x.seq"), "x.seq"),
    "fit hmm": (("fit", "hmm", "data.seq", "--out", "w/hmm"), "hmm"),
    "fit lstm": (("fit", "lstm", "data.seq", "--out", "w/lstm"), "lstm"),
    "a fit's checkpoint": (("fit", "hmm", "data.seq", "--out", "w/hmm"), "hmm.checkpoint"),
    "a training's checkpoint": (("fit", "lstm", "data.seq", "--out", "w/lstm"), "lstm.checkpoint"),
    "tune": (("tune", "data.seq", "--try", "lstm.units=4,8", "--out", "w/found"), "found"),
    "forecast": (("forecast", "hmm", "data.seq", "--out", "w/f.csv"), "f.csv"),
    "forecast readings": (("forecast", "hmm", "readings.csv", "--out", "w/f.csv"), "f.csv"),
    "readings": (("readings", "spec.toml", "--out", "w/readings.html"), "readings.html"),
    "compare": (("compare", "data.seq", "--model", "hmm=hmm", "--model", "lstm=lstm", "--out", "w"), "report.html"),
    "compare's scores": (("compare", "data.seq", "--model", "hmm=hmm", "--model", "lstm=lstm", "--out", "w"), "scores.json"),
}


@pytest.mark.parametrize("command", sorted(WRITERS))
def test_no_command_writes_or_removes_where_a_link_in_the_place_of_its_staging_folder_leads(
    run: Run, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    for name in ("spec.toml", "readings.csv", "data.seq", "hmm", "lstm"):
        (tmp_path / name).symlink_to(made / name)
    (tmp_path / "w").mkdir()
    (tmp_path / "victim" / "chapters").mkdir(parents=True)
    for name in ("thesis", "chapters/1"):
        (tmp_path / "victim" / name).write_text(name)
    arguments, out = WRITERS[command]
    (tmp_path / "w" / f".{out}.writing").symlink_to("../victim")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    status, printed = run(*arguments)
    assert (status, len(printed.strip().splitlines())) == (2, 1), printed
    assert printed.startswith(f"hindcast: {tmp_path}/w/.{out}.writing: must be a folder that is yours")
    assert sorted(tmp_path.rglob("*")) == before


def test_debug_shows_the_traceback(run: Run, folder: Path) -> None:
    status, printed = run("--debug", "inspect", folder / "nothing.seq")
    assert status == 2
    assert "Traceback" in printed


def test_a_half_written_dataset_and_a_half_written_model_are_refused(run: Run, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data.seq", tmp_path / "half.seq")
    (tmp_path / "half.seq" / "_manifest.json").unlink()
    assert "whose writing was cut short" in run("inspect", tmp_path / "half.seq")[1]
    shutil.copytree(made / "lstm", tmp_path / "lstm")
    (tmp_path / "lstm" / "model.keras").write_bytes(b"PK half")
    status, printed = run("forecast", tmp_path / "lstm", made / "data.seq", "--out", tmp_path / "x.csv")
    assert status == 2
    assert "model.keras: not a Keras model" in printed
    assert not (tmp_path / "x.csv").exists()


def test_inspect_verify_finds_a_flipped_byte(run: Run, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data.seq", tmp_path / "d.seq")
    part = next((tmp_path / "d.seq").glob("split=train/*.parquet"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    status, printed = run("inspect", tmp_path / "d.seq", "--verify")
    assert status == 2
    assert part.name in printed
