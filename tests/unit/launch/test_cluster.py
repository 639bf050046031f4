from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deep.ranks.gpus import DISCOVERY
from launch.cluster import executors_gpus, must_allow_cleartext
from launch.settings import ClusterSettings, load
from prep.errors import InputError


def spark(master: str, **conf: str) -> Any:
    told = {key.replace("_", "."): value for key, value in conf.items()}
    return SimpleNamespace(sparkContext=SimpleNamespace(master=master, getConf=lambda: told))


@pytest.mark.parametrize("on", ["spark_network_crypto_enabled", "spark_authenticate_enableSaslEncryption", "spark_ssl_enabled"])
def test_where_spark_encrypts_ranks_in_the_clear_must_be_allowed(on: str) -> None:
    encrypted = spark("spark://h:7077", **{on: "true"})
    with pytest.raises(InputError, match=rf"^{on.replace('_', '.')} is on, [^\n]* --allow-cleartext [^\n]*$"):
        must_allow_cleartext(encrypted, ClusterSettings())
    must_allow_cleartext(encrypted, ClusterSettings(allow_cleartext=True))


@pytest.mark.parametrize("where", [spark("spark://h:7077"), spark("local[2]", spark_network_crypto_enabled="true")])
def test_what_is_not_encrypted_or_crosses_no_network_needs_no_leave(where: Any) -> None:
    must_allow_cleartext(where, ClusterSettings())


def test_executors_ask_for_gpus_and_tasks_do_not() -> None:
    assert executors_gpus(ClusterSettings()) == {}
    found = executors_gpus(load(None, {"cluster.gpus_per_worker": "4"}).cluster)
    assert found == {
        "spark.executor.resource.gpu.amount": "4",
        "spark.executor.resource.gpu.discoveryScript": str(DISCOVERY),
    }
    with pytest.raises(InputError, match=r"cluster\.gpus_per_worker"):
        load(None, {"cluster.gpus_per_worker": "0"})
