from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hindcast.launch.settings import ClusterSettings, load
from hindcast.launch.spark.cluster import executors_gpus, must_allow_cleartext, ranks_on
from hindcast.prep.errors import InputError
from hindcast.prep.spark.gpus import DISCOVERY


def spark(master: str, **conf: str) -> Any:
    told = {key.replace("_", "."): value for key, value in conf.items()}
    return SimpleNamespace(sparkContext=SimpleNamespace(master=master, getConf=lambda: told))


@pytest.mark.parametrize("on", ["spark_network_crypto_enabled", "spark_authenticate_enableSaslEncryption", "spark_ssl_enabled"])
def test_where_spark_encrypts_ranks_in_the_clear_must_be_allowed(on: str) -> None:
    with pytest.raises(InputError, match=rf"^{on.replace('_', '.')} is on, [^\n]* --allow-cleartext [^\n]*$"):
        must_allow_cleartext(spark("spark://h:7077", **{on: "true"}), ClusterSettings())


@pytest.mark.parametrize(
    ("master", "encrypted", "allowed", "refused"),
    [
        ("spark://h:7077", "true", False, True),
        ("spark://h:7077", "true", True, False),
        ("spark://h:7077", "false", False, False),
        ("local[2]", "true", False, False),  # crosses no network
    ],
)
def test_nothing_else_needs_leave(master: str, encrypted: str, allowed: bool, refused: bool) -> None:
    try:
        must_allow_cleartext(spark(master, spark_network_crypto_enabled=encrypted), ClusterSettings(allow_cleartext=allowed))
        found = False
    except InputError:
        found = True
    assert found == refused


def test_where_gpus_come_on_demand_the_number_of_ranks_is_the_users_to_say() -> None:
    there = spark("yarn", spark_dynamicAllocation_enabled="true")
    with pytest.raises(InputError, match=r"^cluster\.ranks: executors come on demand here"):
        ranks_on(there, ClusterSettings(gpus_per_worker=2))
    assert ranks_on(there, ClusterSettings(gpus_per_worker=2, ranks=3)) == 3


def test_where_no_executor_with_gpus_comes_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hindcast.prep.spark.gpus.gpus_a_task", lambda there, gpus: "profile")
    monkeypatch.setattr("hindcast.launch.spark.cluster.slots_within", lambda there, wanted, seconds, profile: 0)
    with pytest.raises(InputError, match=r"^cluster\.gpus_per_worker: Spark \(spark://h:1\) has given no executor with GPUs"):
        ranks_on(spark("spark://h:1"), ClusterSettings(gpus_per_worker=2))


def test_executors_ask_for_gpus_and_tasks_do_not() -> None:
    assert executors_gpus(ClusterSettings()) == {}
    found = executors_gpus(load(None, {"cluster.gpus_per_worker": "4"}).cluster)
    assert found == {
        "spark.executor.resource.gpu.amount": "4",
        "spark.executor.resource.gpu.discoveryScript": str(DISCOVERY),
    }
    with pytest.raises(InputError, match=r"cluster\.gpus_per_worker"):
        load(None, {"cluster.gpus_per_worker": "0"})
