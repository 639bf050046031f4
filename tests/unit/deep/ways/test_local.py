from __future__ import annotations

import pytest
import tensorflow as tf

from hindcast.deep.ways import local
from hindcast.prep.errors import InputError


@pytest.mark.parametrize(
    ("gpus", "local_rank", "visible", "taken"),
    [
        (["a", "b"], "0", None, "a"),
        (["a", "b"], "1", "4,6", "b"),
        (["a"], "1", "6", None),  # whoever started the rank gave it this one
        ([], "1", None, None),
    ],
)
def test_a_rank_takes_the_gpu_of_its_place_on_its_host(
    gpus: list[str], local_rank: str, visible: str | None, taken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda device, kind: found.append(device))
    monkeypatch.setenv("HOROVOD_LOCAL_RANK", local_rank)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    local._see_own_gpu()
    assert found == ([] if taken is None else [taken])


def test_more_ranks_than_gpus_on_a_host_are_refused_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a", "b"])
    monkeypatch.setenv("HOROVOD_LOCAL_RANK", "2")
    with pytest.raises(InputError, match=r"^rank 2 of those on \S+ finds 2 GPUs: [^\n]*$"):
        local._see_own_gpu()
