"""On a standalone cluster: all kinds of work, by the commands and by spark-submit; what one machine gets, it gets too."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hindcast.deep.forecaster import load as load_lstm
from hindcast.prep.dataset.sequence_dataset import SequenceDataset
from tests.cluster.standalone import Standalone

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
MODELS = ["hmm", "lstm", "linear", "repeat-last", "seasonal-naive"]
FIT_HMM = ["fit", "hmm", "d.seq", "--settings", "spec.toml", "--out"]


@pytest.fixture
def ran_there(standalone: Standalone) -> Iterator[None]:
    """The test fails where nothing ran on the cluster."""
    before = standalone.registered
    yield
    assert standalone.registered > before


def test_a_cluster_prepares_what_one_machine_does(dataset: SequenceDataset, standalone: Standalone) -> None:
    standalone.run("hindcast", "prep", "spec.toml", "local.seq", "--cluster.master", "local[1]")
    assert SequenceDataset.open(standalone.folder / "local.seq").digest == dataset.digest


@pytest.mark.usefixtures("ran_there")
def test_spark_submit_runs_em_and_gets_what_one_machine_gets(standalone: Standalone, local_hmm: Path) -> None:
    main = str(ROOT / "hindcast" / "__main__.py")
    # So few attempts are not enough for the exclusion that is the default, and Spark would refuse both together.
    submit = ["spark-submit", "--master", standalone.url, "--conf", "spark.task.maxFailures=2"]
    standalone.run(*submit, main, *FIT_HMM, "cluster.hmm")
    standalone.assert_same_hmm("cluster.hmm", local_hmm)


SETTINGS = """
import json, sys
from hindcast.launch.spark.session import spark_session

with spark_session(sys.argv[1]) as spark:
    print(json.dumps(dict(spark.sparkContext.getConf().getAll())))
"""


@pytest.mark.parametrize(
    ("said", "enabled", "attempts"),
    [
        ({}, "true", "4"),
        ({"spark.excludeOnFailure.enabled": "false", "spark.task.maxFailures": "6"}, "false", "6"),
        ({"spark.task.maxFailures": "2"}, None, "2"),
    ],
)
def test_what_spark_defaults_conf_says_goes_before_ours(
    standalone: Standalone, tmp_path: Path, said: dict[str, str], enabled: str | None, attempts: str
) -> None:
    (tmp_path / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in said.items()))
    found = json.loads(standalone.run(sys.executable, "-c", SETTINGS, standalone.url, SPARK_CONF_DIR=str(tmp_path)))
    assert found.get("spark.excludeOnFailure.enabled") == enabled
    assert found["spark.task.maxFailures"] == attempts


def test_a_number_of_attempts_that_is_none_is_told(standalone: Standalone, tmp_path: Path) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.task.maxFailures many\n")
    command = ["hindcast", "prep", "spec.toml", "attempts.seq", "--cluster.master", standalone.url]
    driver = standalone.start(*command, SPARK_CONF_DIR=str(tmp_path))
    said = " ".join(driver.communicate(timeout=120)[1].split())
    assert driver.returncode != 0
    assert "spark.task.maxFailures: found 'many', expected a whole number; mend it in spark-defaults.conf" in said
    assert not (standalone.folder / "attempts.seq").exists()


TWO_SESSIONS = """
import json, sys
from hindcast.launch.spark.session import spark_session

found = []
for master, more in (("local[1]", {"spark.hindcast.ports": "1-2"}), (sys.argv[1], {})):
    with spark_session(master, more=more) as spark:
        conf = spark.sparkContext.getConf()
        found.append([spark.sparkContext.master, conf.get("spark.hindcast.ports"), spark.range(4).count()])
print(json.dumps(found))
"""


def test_a_second_session_is_where_it_was_asked_for(standalone: Standalone) -> None:
    found = json.loads(standalone.run(sys.executable, "-c", TWO_SESSIONS, standalone.url))
    assert found == [["local[1]", "1-2", 4], [standalone.url, None, 4]]


@pytest.fixture
def bare(standalone: Standalone, tmp_path: Path) -> str:
    """The Python of an environment with everything but Hindcast."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    ours, its = (sysconfig.get_path("purelib", vars=where) for where in (None, {"base": str(folder)}))
    Path(its, "sitecustomize.py").write_text(f"import sys; sys.path.append({ours!r})")
    python = str(folder / "bin" / "python")
    command = [python, "-c", "import hindcast"]
    lacks = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=standalone.environment)
    assert "No module named 'hindcast'" in lacks.stderr
    return python


@pytest.mark.usefixtures("ran_there")
def test_submit_brings_code_and_environment_to_ranks_on_hosts_that_have_neither(
    standalone: Standalone, lstm: Path, bare: str, tmp_path: Path
) -> None:
    submit = [bare, "-m", "hindcast", "submit", "--environment", "--master", standalone.url, "--"]
    fit = ["fit", "lstm", "d.seq", "--settings", "spec.toml", "--out", "packed"]
    standalone.run(*submit, *fit, PYTHONPATH=str(ROOT), TMPDIR=str(tmp_path))
    assert [*tmp_path.glob("hindcast-*/environment-*.tar.gz")]
    digests = {load_lstm(place).card.part.weights_sha256 for place in (lstm, standalone.folder / "packed")}
    assert len(digests) == 1


@pytest.mark.usefixtures("ran_there")
def test_readings_are_forecast_on_a_cluster_as_on_one_machine(standalone: Standalone, local_hmm: Path) -> None:
    for where, out in ((standalone.url, "cluster.parquet"), ("local[1]", "local.parquet")):
        standalone.run("hindcast", "forecast", local_hmm.name, "readings.csv", "--out", out, "--cluster.master", where)
    order = [("series", "ascending"), ("step", "ascending")]
    cluster, local = (pq.read_table(standalone.folder / f"{name}.parquet").sort_by(order) for name in ("cluster", "local"))
    assert len(local) == 4 * 8
    assert cluster.equals(local)


@pytest.mark.usefixtures("ran_there")
def test_partitions_of_a_cluster_train_the_models_of_one_machine(standalone: Standalone, models: Path) -> None:
    fit = ["hindcast", "fit", "lstm", "d.seq", "--settings", "spec.toml", "--out", "cluster.models"]
    standalone.run(*fit, "--cluster.on", "partitions", "--lstm.epochs", "10", "--cluster.master", standalone.url)
    found, known = (json.loads((place / "models.json").read_text()) for place in (standalone.folder / "cluster.models", models))
    assert len(known["models"]) == 4
    assert found == known, "the digests of all weights are among it"


@pytest.mark.usefixtures("ran_there")
def test_a_comparison_on_a_cluster_has_the_numbers_of_one_machine(standalone: Standalone, dataset: SequenceDataset) -> None:
    scores, tables = {}, {}
    for where, out in ((standalone.url, "cluster.report"), ("local[2]", "local.report")):
        compare = ["hindcast", "compare", "d.seq", "--settings", "spec.toml", "--out", out, "--lstm.epochs", "3"]
        printed = standalone.run(*compare, "--cluster.master", where).splitlines()
        tables[out] = sorted(line.split()[:4] for line in printed if line.strip().startswith(tuple(MODELS)))
        scores[out] = json.loads((standalone.folder / out / "scores.json").read_text())
    cluster, local = scores.values()
    assert cluster["models"].keys() == set(MODELS)
    assert cluster["digest"] == local["digest"] == dataset.digest
    for name, numbers in local["models"].items():
        found = cluster["models"][name]
        for of in ("mse", "mae", "mase", "parameters", "mae_in_sensor_units", "mse_by_step"):
            assert found[of] == (pytest.approx(numbers[of], rel=1e-8) if name == "hmm" else numbers[of]), (name, of)
    assert len(tables["local.report"]) == len(MODELS)
    assert tables["cluster.report"] == tables["local.report"]


def test_horovod_trains_across_both_workers(lstm: Path) -> None:
    card = load_lstm(lstm).card
    assert card.part.ranks == 2
    assert len(card.history) == 12
