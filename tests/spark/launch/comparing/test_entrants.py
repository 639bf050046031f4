"""Any number of models of any kinds enter a comparison, each under its own name, and models of the user's own beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from hindcast.launch.models import load_any
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from hindcast.prep.pipeline import prepare
from hindcast.prep.spec import Spec
from tests.spark.running import Run

OWN = '''
import numpy as np
from sklearn.linear_model import Ridge

from hindcast.forecasting.forecast import Forecast


class Regression:
    """Ridge regression of scikit-learn's, a model a channel."""

    def __init__(self, dataset):
        train = dataset.windows("train")
        batch = train.batch(np.arange(len(train)))
        self.models = [Ridge().fit(batch.context[..., c], batch.target[..., c]) for c in range(batch.context.shape[2])]
        self.parameters = sum(model.coef_.size + model.intercept_.size for model in self.models)

    def forecast(self, given):
        return Forecast(np.stack([m.predict(given.context[..., c]) for c, m in enumerate(self.models)], axis=2))


class Last:
    def forecast(self, given):
        return Forecast(np.repeat(given.context[:, -1:], 6, axis=1))


def peeks(dataset):
    assert not dataset.addresses("test"), "the test split can be seen"
    return Last()


def without_arguments():
    return Last()


def fails(dataset):
    raise RuntimeError("no\\nluck")


class Short(Last):
    def forecast(self, given):
        return Forecast(super().forecast(given).mean[:, :5])


class Plain(Last):
    def forecast(self, given):
        return super().forecast(given).mean


class Gaps(Last):
    """Forecasts no number where the level is low, as windows of the test split are alone."""

    def forecast(self, given):
        mean = super().forecast(given).mean.copy()
        mean[given.context[:, -1, 0] < -100] = np.nan
        return Forecast(mean)


def number():
    return 3


class Wrecks(Last):
    """Of its parameters it has a method, as models of other libraries have."""

    def parameters(self):
        return []

    def forecast(self, given):
        answer = super().forecast(given)
        for array in (given.context, given.observed, given.covariates, given.known, given.attributes):
            array[...] = 0
        return answer


class Raises(Last):
    def forecast(self, given):
        raise ValueError("not\\ntoday")


class Words(Last):
    def forecast(self, given):
        return Forecast(super().forecast(given).mean.astype(str))


def exits():
    raise SystemExit(0)


def seeded(seed=0):
    return Last() if seed == 0 else None


def leaves_a_trace():
    open("trace", "w").close()
    return Last()


nothing = None
'''


@pytest.fixture(scope="module")
def dataset(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    folder, hours = tmp_path_factory.mktemp("entrants"), np.arange(300)
    wave = np.sin(2 * np.pi * hours / 24) + np.random.default_rng(0).normal(0, 0.1, 300)
    wave[-20:] -= 1000  # at the end of the test split
    frame = pd.DataFrame({"time": np.datetime64("2025-01-01T00") + hours, "x": wave, "y": 5 - wave})
    frame.to_csv(folder / "readings.csv", index=False)
    tables = {
        "readings": {"path": str(folder / "readings.csv"), "timestamp": "time"},
        "windows": {"context": 24, "horizon": 6},
    }
    return prepare(spark, Spec.model_validate(tables), str(folder / "data.seq"))


@pytest.fixture(scope="module")
def counts(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SequenceDataset]:
    """Busy and idle days of counts, and of words."""
    folder, hours = tmp_path_factory.mktemp("counts"), np.arange(300)
    rng = np.random.default_rng(0)
    level = np.where(hours // 24 % 2, 12, 3)
    frame = pd.DataFrame({"time": np.datetime64("2025-01-01T00") + hours, "calls": rng.poisson(level)})
    frame.assign(mode=np.where(rng.random(300) < level / 15, "up", "down")).to_csv(folder / "readings.csv", index=False)

    def dataset(channel: str, kind: str) -> SequenceDataset:
        tables = {
            "readings": {"path": str(folder / "readings.csv"), "timestamp": "time", "values": [channel], kind: [channel]},
            "windows": {"context": 24, "horizon": 6},
        }
        return prepare(spark, Spec.model_validate(tables), str(folder / channel))

    return {"calls": dataset("calls", "counts"), "mode": dataset("mode", "categories")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with models of the user's own."""
    (tmp_path / "models_of_my_own.py").write_text(OWN)
    (tmp_path / "entrants.toml").write_text(
        """
        [lstm]
        units = 4
        epochs = 1
        batch = 64
        [hmm]
        states = 2
        order = 3
        iterations = 3
        [cluster]
        on = "local"
        [entrants.wide]
        kind = "lstm"
        units = 8
        [entrants.plain]
        kind = "lstm"
        network = "plain"
        head = "gaussian"
        [entrants.student]
        kind = "hmm"
        emission = "student"
        """
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores_in(report: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((report / "scores.json").read_text())["models"]
    return found


def test_three_lstms_two_hmms_and_a_library_that_is_not_ours(run: Run, dataset: SequenceDataset, folder: Path) -> None:
    """Each has a row of its own, the same that it has alone."""
    settings = ("--settings", "entrants.toml")
    status, printed = run("fit", "lstm", dataset.location, "--out", "fitted", *settings)
    assert status == 0, printed
    fits = [word for name in ("wide", "plain", "hmm", "student") for word in ("--fit", name)]
    own = ("--model", "ridge=models_of_my_own:Regression", "--model", "peek=models_of_my_own:peeks")
    status, printed = run("compare", dataset.location, "--out", "all", "--model", "lstm=fitted", *own, *fits, *settings)
    assert status == 0, printed
    names = ["lstm", "ridge", "peek", "wide", "plain", "hmm", "student"]
    together = scores_in(folder / "all")
    assert list(together) == ["repeat-last", "seasonal-naive", "linear", *names]
    assert len({together[name]["mse"] for name in names}) == len(names)
    assert together["peek"]["mse"] == together["repeat-last"]["mse"]
    assert together["ridge"]["parameters"] == 2 * (24 + 1) * 6
    assert together["peek"]["parameters"] is None

    page = (folder / "all" / "report.html").read_text()
    assert all(f'<span class="name">{name}</span>' in page for name in names)
    assert "What the hidden states of hmm and student mean" in page
    assert "Ridge regression of scikit-learn" in page

    for alone in (("--model", "another=fitted"), ("--model", "another=models_of_my_own:Regression"), ("--fit", "another=hmm")):
        assert run("compare", dataset.location, "--out", "alone", *alone, *settings)[0] == 0
        same = {"fitted": "lstm", "models_of_my_own:Regression": "ridge", "hmm": "hmm"}[alone[1].partition("=")[2]]
        row = scores_in(folder / "alone")["another"]
        for number in ("mse", "mae", "mase", "mae_in_sensor_units", "mse_by_step", "parameters"):
            assert row[number] == together[same][number], (same, number)


def test_without_asking_the_entrants_of_the_settings_are_compared(run: Run, dataset: SequenceDataset, folder: Path) -> None:
    settings = (folder / "entrants.toml").read_text().replace('kind = "lstm"', 'kind = "hmm"').replace("units = 8", "states = 3")
    (folder / "two.toml").write_text(settings[: settings.index("[entrants.plain]")])
    status, printed = run("compare", dataset.location, "--out", "r", "--settings", "two.toml")
    assert status == 0, printed
    assert list(scores_in(folder / "r"))[3:] == ["wide"]
    seeds = json.loads((folder / "r" / "scores.json").read_text())["seeds"]
    assert seeds == {"wide": 0}


def test_families_of_counts_and_of_numbers_are_compared_on_counts(
    run: Run, counts: dict[str, SequenceDataset], folder: Path
) -> None:
    settings = ("--settings", "entrants.toml", "--entrants.poisson.kind", "hmm", "--entrants.poisson.emission", "poisson")
    status, printed = run("compare", counts["calls"].location, "--out", "r", "--fit", "hmm", "--fit", "poisson", *settings)
    assert status == 0, printed
    scores = scores_in(folder / "r")
    assert scores["poisson"]["mse"] != scores["hmm"]["mse"]
    assert "Poisson hidden Markov model, 2 states" in (folder / "r" / "report.html").read_text()


def test_what_forecasts_no_numbers_is_fitted_and_not_compared(
    run: Run, counts: dict[str, SequenceDataset], dataset: SequenceDataset, folder: Path
) -> None:
    words, settings = counts["mode"].location, ("--settings", "entrants.toml", "--hmm.emission", "categorical")
    status, printed = run("fit", "hmm", words, "--out", "words", *settings)
    assert status == 0, printed
    for command, message in (
        (("forecast", "words", words, "--out", "f.csv"), "words: forecasts no numbers"),
        (("compare", words, "--out", "r", "--model", "a=words"), "channel 'mode' is a category, and models forecast numbers"),
        (("compare", dataset.location, "--out", "r", "--model", "a=words"), "words: forecasts no numbers"),
        (("compare", dataset.location, "--out", "r", "--fit", "hmm", *settings), "hmm: HMMs with these settings cannot forecast"),
        (
            ("compare", counts["calls"].location, "--out", "r", "--fit", "hmm", "--hmm.emission", "multinomial"),
            "hmm: HMMs with these settings cannot forecast",
        ),
        (
            ("fit", "hmm", dataset.location, "--out", "x", *settings),
            "numbers, and `fit hmm` with these settings takes categories",
        ),
        (("fit", "lstm", words, "--out", "x"), "channel 'mode' is a category, and models forecast numbers"),
    ):
        status, printed = run(*command)
        assert (status, len(printed.strip().splitlines())) == (2, 1), printed
        assert message in printed


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Short", r"mine: found a forecast whose mean has shape (3, 5, 2), expected (3, 6, 2): (windows, horizon, channels)"),
        ("Plain", "mine: forecast(given) returned ndarray, expected a hindcast Forecast: Forecast(mean)"),
        ("Gaps", "mine: mean nan for step 1 of channel 0, of series 'readings', window from 2025-01-1"),
        ("Raises", "mine: forecast(given) raised ValueError: not today"),
        ("Words", "mine: found a forecast whose mean is an array of <U32, expected a NumPy array of floats"),
        ("exits", "--model mine=models_of_my_own:exits: the factory raised SystemExit: 0"),
        ("number", "--model mine=models_of_my_own:number: found int, which has no method forecast(given)"),
        ("fails", "--model mine=models_of_my_own:fails: the factory raised RuntimeError: no luck"),
        ("nothing", "--model mine=models_of_my_own:nothing: found NoneType, expected a callable that returns a model"),
        ("missing", "--model mine=models_of_my_own:missing: models_of_my_own has no 'missing'"),
    ],
)
def test_a_model_of_ones_own_that_cannot_answer_is_refused_in_a_line(
    model: str, message: str, run: Run, dataset: SequenceDataset, folder: Path
) -> None:
    status, printed = run("compare", dataset.location, "--out", "r", "--model", f"mine=models_of_my_own:{model}")
    assert status == 2
    assert message in printed.strip()
    assert len(printed.strip().splitlines()) == 1
    assert not (folder / "r" / "report.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--model", "mine=no_such_module:Model"), "no_such_module cannot be imported: ModuleNotFoundError: No module named"),
        (("--model", "mine=nowhere"), "nowhere: no such model"),
        (("--fit", "wide=hmm"), "--fit wide=hmm: the settings have entrants.wide.kind = 'lstm'"),
        (("--fit", "wide", "--model", "wide=nowhere"), "entrant 'wide': the name is given twice"),
        (("--fit", "repeat-last=hmm"), "entrant 'repeat-last': is the name of a baseline"),
        (("--fit", "a/b=hmm"), "entrant 'a/b': a name has 1 to 60 letters"),
        (("--fit", "a b=hmm"), "entrant 'a b': a name has 1 to 60 letters"),
        (("--entrants.x.kind.y", "3"), "entrants.x.kind: found {'y': 3}, expected one of hmm, lstm"),
        (("--fit", "=hmm"), "entrant '': a name has 1 to 60 letters"),
        (("--fit", "forest"), "--fit forest: no kind of models 'forest'; there are hmm, lstm"),
        (("--fit", "hmm", "--entrants.wide.unitz", "3"), "entrants.wide: unitz: Extra inputs are not permitted, found 3"),
    ],
)
def test_entrants_that_cannot_be_are_refused_before_anything_is_fitted(
    words: tuple[str, ...], message: str, run: Run, dataset: SequenceDataset, folder: Path
) -> None:
    status, printed = run("compare", dataset.location, "--out", "r", "--settings", "entrants.toml", *words)
    assert status == 2
    assert message in printed
    assert len(printed.strip().splitlines()) == 1


def test_a_model_of_a_newer_version_or_an_unknown_kind_is_named(run: Run, dataset: SequenceDataset, folder: Path) -> None:
    assert run("fit", "hmm", dataset.location, "--out", "m", "--settings", "entrants.toml")[0] == 0
    assert load_any(folder / "m").card.kind == "hmm"
    card = json.loads((folder / "m" / "model.json").read_text())
    for changed, message in (
        ({"version": 3}, "m/model.json: was written by a newer Hindcast: it is of version 3"),
        ({"kind": "forest"}, "m/model.json: a model of kind 'forest', which this Hindcast does not know; it knows hmm, lstm"),
    ):
        (folder / "m" / "model.json").write_text(json.dumps(card | changed))
        for command in (
            ("compare", dataset.location, "--out", "r", "--model", "a=m"),
            ("forecast", "m", dataset.location, "--out", "f.csv"),
        ):
            status, printed = run(*command)
            assert (status, len(printed.strip().splitlines())) == (2, 1)
            assert message in printed


def test_one_entrant_changes_nothing_that_another_sees(run: Run, dataset: SequenceDataset, folder: Path) -> None:
    wrecks = ("--model", "wrecks=models_of_my_own:Wrecks")
    status, printed = run("fit", "hmm", dataset.location, "--out", "m", "--settings", "entrants.toml")
    assert status == 0, printed
    for number, models in enumerate(((*wrecks, "--model", "hmm=m"), ("--model", "hmm=m", *wrecks))):
        status, printed = run("compare", dataset.location, "--out", f"r{number}", *models)
        assert status == 0, printed
    first, second = (scores_in(folder / f"r{number}")["hmm"]["mse"] for number in range(2))
    assert first == second


def test_the_record_of_a_run_tells_entrants_of_one_kind_apart(run: Run, dataset: SequenceDataset, folder: Path) -> None:
    fits = ("--fit", "long=hmm", "--fit", "student", "--settings", "entrants.toml", "--hmm.order", "100")
    status, printed = run("compare", dataset.location, "--out", "r", *fits, "--run-dir", "runs")
    assert status == 0, printed
    (file,) = (folder / "runs").glob("*/run.json")
    record = json.loads(file.read_text())
    assert record["settings"]["hmm"]["order"] == 100
    assert record["entrants"]["long"]["settings"]["hmm"]["order"] == 12
    assert "lowered to 12" in record["entrants"]["long"]["notes"][0]
    assert record["entrants"]["student"]["notes"] == []
    assert {"HMM long", "HMM student"} <= {stage["stage"] for stage in record["stages"]}


def test_nothing_is_made_or_fitted_where_something_else_is_refused(run: Run, dataset: SequenceDataset, folder: Path) -> None:
    slow = ("--model", "slow=models_of_my_own:leaves_a_trace")
    for other in (
        ("--model", "x=nowhere"),
        ("--model", "x=models_of_my_own:missing"),
        ("--fit", "lstm", "--cluster.least_ranks", 1),
    ):
        assert run("compare", dataset.location, "--out", "r", *slow, *other, "--settings", "entrants.toml")[0] == 2
        assert not (folder / "trace").exists()
    assert run("compare", dataset.location, "--out", "r", *slow, "--model", "seeded=models_of_my_own:seeded")[0] == 0
    assert (folder / "trace").exists()
