"""The report says what the numbers say, needs nothing outside its one file, and is written whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
import pytest

from hindcast.forecasting.report import figures, page, palette, sections
from hindcast.forecasting.report.contents import (
    Contents,
    Example,
    Learning,
    Likelihood,
    Line,
    Model,
    Setup,
    Split,
    States,
    Stretch,
)
from hindcast.forecasting.report.headline import headline
from hindcast.forecasting.report.numbers import decimals, duration, fixed, percent, short, size, span
from hindcast.prep.errors import InputError

VOID = {"meta", "input", "br", "img", "link", "hr"}


def made_up(channels: tuple[str, ...] = ("load", "oil"), horizon: int = 12, windows: int = 2, **errors: float) -> Contents:
    """Contents of five models with these errors; every section has data."""
    mse = {"repeat-last": 1.294, "seasonal-naive": 0.512, "linear": 0.370, "hmm": 0.633, "lstm": 0.351} | {
        name.replace("_", "-"): value for name, value in errors.items()
    }
    models = tuple(
        _model(name, "model" if name in ("hmm", "lstm") else "baseline", value, len(channels), horizon)
        for name, value in mse.items()
    )
    return Contents(
        title="Two days of a transformer",
        created=datetime(2025, 3, 3, 14, 2, tzinfo=UTC),
        setup=_setup(channels, horizon),
        models=models,
        examples=tuple(_example(number, len(channels), horizon, tuple(mse)) for number in range(windows)),
        learning=(
            Learning("lstm", np.arange(1, 6), np.linspace(1, 0.2, 5), np.array([1.1, 0.7, 0.5, 0.55, 0.6]), "squared error"),
        ),
        likelihood=(Likelihood("hmm", np.arange(1, 9), -np.geomspace(9, 6, 8), ceiling=-5.75),),
        states=(_states(4, channels),),
        notes=("lstm was stopped by the time limit.",),
    )


def _model(name: str, kind: Literal["baseline", "model"], mse: float, channels: int, horizon: int) -> Model:
    return Model(
        name=name,
        role=kind,
        description=f"What {name} is.",
        mse=mse,
        mae=mse**0.5 * 0.7,
        mase=mse**0.5 * 1.5,
        channel_mae=mse * np.arange(1.0, channels + 1) * 3.217,
        step_mse=mse * np.linspace(0.5, 1.5, horizon),
        parameters=1_623_072 if name == "lstm" else 343,
        bytes=6_512_004,
        fit_seconds=312.0 if kind == "model" else 0.62,
        fit_cpu_seconds=611.0,
        forecast_seconds=9.4,
    )


def _setup(channels: tuple[str, ...], horizon: int) -> Setup:
    days = [datetime(2016, 7, day) for day in (1, 10, 11, 14, 15, 18)]
    return Setup(
        dataset="data/etth1.seq",
        windows=2785,
        context=48,
        horizon=horizon,
        step_seconds=3600.0,
        season=24,
        channels=channels,
        series=3,
        splits=tuple(
            Split(name, days[2 * at], days[2 * at + 1], 8640 - at) for at, name in enumerate(("train", "validation", "test"))
        ),
        scaling="standard, per channel, from the training split alone",
        counts={"readings": {"train": 8640, "outside": 3020}, "values filled": {"train": 12, "outside": 0}},
        command="hindcast compare data/etth1.seq --seed 7",
        seeds={"all": 7},
        versions={"numpy": "1.26.4", "keras": "3.15.1"},
        cores=16,
        memory_bytes=128 * 2**30,
    )


def _example(number: int, channels: int, horizon: int, models: tuple[str, ...]) -> Example:
    random = np.random.default_rng(number)
    times = np.datetime64("2018-02-01T00") + np.arange(48 + horizon)
    values = random.normal(size=(48 + horizon, channels)).cumsum(0)
    observed = np.ones((horizon, channels), dtype=bool)
    observed[horizon // 3 : horizon // 2] = False
    actual = values[48:]
    lines = tuple(Line(name, actual + 0.3, np.full(actual.shape, 0.5) if name == "lstm" else None) for name in models)
    return Example(f"transformer {number}", "picked evenly", times[:48], values[:48], times[48:], actual, observed, lines)


def _states(count: int, channels: tuple[str, ...]) -> States:
    random = np.random.default_rng(count)
    transition = random.dirichlet(np.ones(count), size=count) * 0.2 + 0.8 * np.eye(count)
    shape = (count, len(channels))
    state = random.integers(count, size=200).repeat(3)
    return States(
        model="hmm",
        mean=random.normal(size=shape) * 10,
        deviation=random.uniform(0.5, 2, size=shape),
        share=np.full(count, 1 / count),
        duration=1 / (1 - np.diag(transition)),
        transition=transition,
        stretch=Stretch(
            series="transformer 1",
            times=np.datetime64("2018-01-01T00") + np.arange(600),
            channels=channels[:1],
            values=random.normal(size=(600, 1)),
            state=state,
            truth=np.roll(state, 1),
            agreement=0.914,
        ),
    )


class Tags(HTMLParser):
    """Every element of a page, checked to be closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def ids(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.elements if "id" in attributes]


@pytest.fixture(scope="module")
def rendered() -> str:
    return page.render(made_up())


def test_the_page_asks_nothing_of_the_network(rendered: str) -> None:
    tags = Tags(rendered)
    assert not {"link", "img", "iframe", "object", "embed", "base", "image"} & {tag for tag, _ in tags.elements}
    for _, attributes in tags.elements:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"https?://|//[a-z]+\.|@import|@font-face", rendered)
    assert all(target.startswith(("#", "data:")) for target in re.findall(r"url\(([^)]*)\)", rendered))
    assert "default-src 'none'" in rendered


def test_the_browser_is_told_the_hash_of_the_script_that_is_there(rendered: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", rendered, re.DOTALL)
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}';" in rendered


def test_every_model_and_number_is_on_the_page(rendered: str) -> None:
    contents, text = made_up(), Tags(rendered).text
    for model in contents.models:
        for shown in (model.name, model.description, fixed(model.mse, 3), fixed(model.mae, 3), fixed(model.mase, 3)):
            assert shown in text
        assert all(f"{error:.2f}" in text or f"{error:.3f}" in text for error in model.channel_mae)
    for shown in ("1,623,072", "6.51 MB", "5 min 12 s", "0.62 s", "10 min 11 s", "9.40 s", "2,785", "48 steps", "12 h", "91 %"):
        assert shown in text, shown
    setup = contents.setup
    assert all(f"{name} {value}" in text for name, value in setup.versions.items())
    assert "What train outside readings 8,640 3,020 values filled 12 0" in text
    assert all(
        split.name in text and f"{split.steps:,}" in text and f"{split.last:%Y-%m-%d %H:%M}" in text for split in setup.splits
    )
    assert all(
        shown in text
        for shown in (setup.command, setup.dataset, setup.scaling, "all 7", "16 cores, 128 GiB", "2025-03-03 14:02 UTC")
    )
    assert contents.notes[0] in text
    assert all(f"{probability:.3f}" in text for probability in contents.states[0].transition.ravel())


def test_table_is_sorted_by_mse_and_marks_the_best(rendered: str) -> None:
    table = rendered[rendered.index('<table class="scores">') : rendered.index("</table>")]
    assert re.findall(r'class="name">([\w-]+)<', table) == ["lstm", "linear", "seasonal-naive", "hmm", "repeat-last"]
    best = re.findall(r'best[^"]*">(?:<span class="bar"[^>]*></span>)?<span class="figure">([^<]*)<', table)
    assert best[:3] == ["0.351", fixed(0.351**0.5 * 0.7, 3), fixed(0.351**0.5 * 1.5, 3)]
    assert "−5.1\u00a0%" in table
    assert "+38\u00a0%" in table
    assert "reference" in table


def test_svgs_and_tables_speak_to_screen_readers_and_ids_are_unique(rendered: str) -> None:
    tags = Tags(rendered)
    svgs = [attributes for tag, attributes in tags.elements if tag == "svg"]
    assert all(attributes.get("aria-label") or attributes.get("aria-hidden") for attributes in svgs)
    assert sum(tag == "table" for tag, _ in tags.elements) == sum(tag == "caption" for tag, _ in tags.elements)
    assert all("scope" in attributes for tag, attributes in tags.elements if tag == "th")
    assert len(tags.ids()) == len(set(tags.ids()))
    used = set(re.findall(r"(?:href=\"|url\()#([\w.-]+)", rendered))
    assert used <= set(tags.ids())


def test_names_are_escaped_wherever_they_come_from() -> None:
    evil = '<script>alert("$x_1$")</script>'
    contents = made_up(channels=(evil, "oil"))
    contents = replace(
        contents,
        title=evil,
        notes=(evil,),
        setup=replace(
            contents.setup, command=evil, dataset=evil, seeds={evil: 1}, counts={evil: {evil: 1}}, versions={evil: evil}
        ),
        examples=tuple(replace(example, series=evil, why=evil) for example in contents.examples),
        models=tuple(replace(model, description=evil) for model in contents.models),
    )
    text = page.render(contents)
    assert text.count("<script>") == 1
    assert evil in Tags(text).text
    assert "<script>" not in "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))


def test_model_names_are_escaped() -> None:
    contents = made_up()
    evil = "<b onclick=x>"
    models = tuple(replace(model, name=evil) if model.name == "lstm" else model for model in contents.models)
    text = page.render(replace(contents, models=models, examples=(), learning=()))
    assert evil not in text
    assert evil in Tags(text).text


def test_sections_without_data_are_absent() -> None:
    contents = made_up()
    bare = replace(
        contents, examples=(), learning=(), likelihood=(), states=(), notes=(), setup=replace(contents.setup, counts={})
    )
    ids = Tags(page.render(bare)).ids()
    assert not {"forecasts", "learning", "states"} & set(ids)
    assert {"quality", "horizon", "made"} <= set(ids)
    text = page.render(bare)
    assert "Kept, dropped or filled" not in text
    assert 'href="#states"' not in text
    assert "CRPS" not in text
    assert {"forecasts", "learning", "states"} <= set(Tags(page.render(contents)).ids())


def test_a_lead_is_said_and_nothing_is_drawn_over_it(rendered: str) -> None:
    contents = made_up()
    text = page.render(replace(contents, setup=replace(contents.setup, lead=6)))
    said = Tags(text).text.replace("\u00a0", " ")
    assert "Skips 6 h 6 steps Forecasts 12 h 12 steps of 1 h" in said
    assert "Of the first 6 steps in it nothing is forecast: they are the lead." in said
    assert not re.search("Skips|the lead", Tags(rendered).text)
    example = contents.examples[0]
    later = replace(example, times=example.times + np.timedelta64(6, "h"))
    looks = palette.styles(contents.models)
    joined, apart = (figures.forecast(later, 0, 24, lead, looks, "f", "label") for lead in (0, 6))
    assert len(re.findall(r"[ML]", joined)) == len(re.findall(r"[ML]", apart)) + 1  # the line from the past to the first target


def test_whole_series_are_not_called_an_order_of_time(rendered: str) -> None:
    contents = made_up()
    said = Tags(page.render(replace(contents, setup=replace(contents.setup, whole_series=True)))).text
    assert "Whole series: what a model learns from" in said
    assert "In order of time" not in said
    assert "In order of time" in Tags(rendered).text


def words(**errors: float) -> str:
    said = headline(made_up(**errors))
    return " ".join((said.lead, *said.details)).replace("\u00a0", " ")


def test_headline_where_a_model_is_best() -> None:
    said = words(lstm=0.351)
    assert "lstm has the lowest error: MSE 0.351 on 2,785 test windows, 5.1 % below linear, the best baseline (0.370)." in said
    assert "hmm has MSE 0.633, 80 % above lstm; it beats 1 of the 3 baselines." in said
    assert "What it cost to fit: lstm 5 min 12 s; linear 0.62 s." in said
    assert said.endswith("not worth its cost. Here that is hmm.")


def test_headline_where_a_baseline_is_best() -> None:
    said = words(lstm=0.378)
    assert said.startswith(
        "linear has the lowest error: MSE 0.370 on 2,785 test windows, and it is a baseline: none of the 2 models"
    )
    assert "lstm has MSE 0.378, 2.2 % above linear; it beats 2 of the 3 baselines." in said
    assert "What it cost" not in said
    assert said.endswith("Here that is lstm and hmm.")


def test_headline_where_they_tie() -> None:
    said = words(lstm=0.3692)
    assert said.startswith(
        "lstm and linear tie for the lowest error: MSE 0.369 to 0.370 on 2,785 test windows. linear is a baseline,"
    )
    assert "nothing here clearly beats the baselines" in said
    assert said.endswith("Here that is lstm and hmm.")
    assert "not worth its cost" not in words(lstm=0.300, hmm=0.3001)
    assert words(lstm=0.300, hmm=0.3001).startswith("lstm and hmm tie for the lowest error: MSE 0.300 on")
    assert words(lstm=0.300, hmm=0.3009).startswith("lstm and hmm tie for the lowest error: MSE 0.300 to 0.301 on")


def test_headline_says_who_failed_and_where_absolute_errors_disagree() -> None:
    said = words(hmm=float("nan"))
    assert "hmm failed" in said
    assert said.endswith("Here that is hmm.")
    contents = made_up()
    models = tuple(replace(model, mae=0.1) if model.name == "linear" else model for model in contents.models)
    assert any("linear is best with 0.100" in sentence for sentence in headline(replace(contents, models=models)).details)
    page.render(made_up(hmm=float("inf"), lstm=float("nan")))


@pytest.mark.parametrize("kind", ["baseline", "model"])
def test_headline_without_models_or_without_baselines(kind: str) -> None:
    contents = made_up()
    kept = tuple(model for model in contents.models if model.role == kind)
    said = headline(replace(contents, models=kept, examples=(), learning=(), likelihood=(), states=()))
    assert ("no model was compared" if kind == "baseline" else "There is no baseline") in said.lead
    assert not any("not worth" in sentence for sentence in said.details)


def test_the_same_contents_give_the_same_page_whatever_the_readers_own_settings(rendered: str) -> None:
    with matplotlib.rc_context({"lines.linewidth": 9.0, "axes.facecolor": "red", "font.size": 30.0}):
        assert page.render(made_up()) == rendered


def test_write_makes_a_whole_readable_file(tmp_path: Path, rendered: str) -> None:
    target = tmp_path / "report.html"
    page.write(made_up(), target)
    assert target.read_text(encoding="utf-8") == rendered
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert target.stat().st_mode & 0o777 == 0o644
    assert target.stat().st_size < 1_000_000


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    for where, what in ((figures, "by_horizon"), (Path, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(where, what, _fail)
            with pytest.raises(OSError, match="disk full"):
                page.write(made_up(), target)
        assert target.read_text() == "old"
        assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def _fail(*_: object, **__: object) -> None:
    raise OSError("disk full")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        page.write(made_up(), tmp_path / "none" / "report.html")


def test_one_channel_one_window_one_step() -> None:
    contents = made_up(channels=("oil",), horizon=1, windows=1)
    tags = Tags(page.render(contents))
    assert "horizon" not in tags.ids()
    assert not any("data-choose" in attributes for _, attributes in tags.elements)
    assert sum(tag == "figure" and "data-channel" in attributes for tag, attributes in tags.elements) == 1


def test_deviations_and_forecasts_that_are_nan_are_left_out(recwarn: pytest.WarningsRecorder) -> None:
    contents = made_up()
    example = contents.examples[0]
    nothing = np.full(example.actual.shape, np.nan)
    lines = (Line("lstm", example.actual, nothing), Line("hmm", nothing, nothing), Line("linear", example.actual * 1e9))
    text = page.render(replace(contents, examples=(replace(example, lines=lines),)))
    assert "90 % range" not in text
    assert not re.search(r'd="[^"]*nan', text)
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_nothing_measured_at_all_can_be_drawn() -> None:
    contents = made_up()
    example = contents.examples[0]
    unobserved = replace(example, observed=np.zeros_like(example.observed))
    nothing = replace(example, actual=np.full(example.actual.shape, np.nan), past=np.full(example.past.shape, np.nan))
    for drawn in (unobserved, nothing):
        text = page.render(replace(contents, examples=(drawn,)))
        assert example.series in text
        assert not re.search(r'd="[^"]*nan', text)


def test_many_channels_and_windows_are_limited_and_said_so() -> None:
    names = tuple(f"sensor {number}" for number in range(40))
    text = page.render(made_up(channels=names, windows=9))
    figures_drawn = sum(tag == "figure" and "data-channel" in attributes for tag, attributes in Tags(text).elements)
    assert figures_drawn == sections.WINDOWS * sections.CHANNELS
    assert "Drawn are the first 6 of 9 windows and the first 9 of 40 channels; the scores are of all of them." in text
    assert "Shown are the 8 of 40 channels in which the states differ most." in text
    assert "All 40 channels" in text
    assert all(name in text for name in names)
    assert len(text.encode()) < 3_000_000


def test_long_horizons_stay_below_three_megabytes() -> None:
    text = page.render(made_up(channels=tuple("abcdefghi"), horizon=2000, windows=6))
    assert len(text.encode()) < 3_000_000
    assert re.search(r"Drawn are the first \d of 6 windows", text)


def test_many_states_keep_their_matrix_without_numbers() -> None:
    contents = replace(made_up(), states=(_states(24, ("load", "oil")),))
    text = page.render(contents)
    assert 'class="transitions dense"' in text
    assert len(set(re.findall(r'class="swatch" style="background: (#\w+)"', text))) == 24


def test_a_long_stretch_is_cut_and_said_so() -> None:
    contents = made_up()
    assert contents.states[0].stretch is not None
    steps = 5000
    stretch = replace(
        contents.states[0].stretch,
        times=np.datetime64("2018-01-01T00") + np.arange(steps),
        values=np.zeros((steps, 1)),
        state=np.zeros(steps, dtype=int),
        truth=None,
    )
    text = page.render(replace(contents, states=(replace(contents.states[0], stretch=stretch),)))
    assert "The first 1,500 of 5,000 steps are drawn." in text
    assert "True regime" not in text


def test_colours_are_fixed_to_the_model_and_not_to_its_rank(rendered: str) -> None:
    other = page.render(made_up(hmm=0.1, lstm=0.2))
    for text in (rendered, other):
        looks = dict(re.findall(r'stroke="var\(--(\w+)\)"[^>]*></line></svg> <span class="name">([\w-]+)<', text))
        assert looks["model0"] == "hmm"
        assert looks["model1"] == "lstm"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": ()}, "one at least"),
        ({"learning": (Learning("gru", np.arange(2), np.zeros(2), np.zeros(2)),)}, "gru"),
    ],
)
def test_contents_that_do_not_fit_are_refused(change: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(made_up(), **change)


def test_shapes_that_do_not_fit_are_named() -> None:
    contents = made_up()
    wrong = replace(contents.models[0], step_mse=np.zeros(5))
    with pytest.raises(ValueError, match=r"repeat-last: step_mse has shape \(5,\), expected \(12,\)"):
        replace(contents, models=(wrong, *contents.models[1:]))
    with pytest.raises(ValueError, match=r"states of hmm: mean has shape \(4, 1\), expected \(4, 2\)"):
        replace(contents, states=(replace(contents.states[0], mean=np.zeros((4, 1))),))


def test_numbers_read_as_people_write_them() -> None:
    assert [fixed(value, 3) for value in (-0.0001, -1.5, None, float("nan"), 1234.5678)] == [
        "0.000",
        "−1.500",
        "–",
        "–",
        "1,234.568",
    ]
    assert [short(value) for value in (0.012345, 1234.5, -3.21987, 0.0, 1e-9)] == [
        "0.0123",
        "1,234",
        "−3.22",
        "0.000",
        "1.00e−09",
    ]
    assert [decimals(values) for values in ([0.37, 1.3], [12.0], [1234.0], [0.0, None])] == [3, 1, 0, 3]
    plain = [duration(value).replace("\u00a0", " ") for value in (0.0, 0.004, 0.62, 41.2, 99.7, 312.0, 3599.0, 7380.0, None)]
    assert plain == ["0 s", "< 0.01 s", "0.62 s", "41 s", "1 min 40 s", "5 min 12 s", "1 h 00 min", "2 h 03 min", "–"]
    assert [span(value).replace("\u00a0", " ") for value in (345600, 86400, 900, 0.5, float("inf"))] == [
        "4 days",
        "24 h",
        "15 min",
        "0.5 s",
        "for ever",
    ]
    assert [percent(value, signed=True).replace("\u00a0", " ") for value in (0.051, -0.38, 0.0001, 0.0, 25.0)] == [
        "+5.1 %",
        "−38 %",
        "< 0.1 %",
        "0.0 %",
        "+2,500 %",
    ]
    assert [size(value).replace("\u00a0", " ") for value in (0, 999, 18230, 999_960, 6_512_004)] == [
        "0 B",
        "999 B",
        "18.2 kB",
        "1.00 MB",
        "6.51 MB",
    ]
