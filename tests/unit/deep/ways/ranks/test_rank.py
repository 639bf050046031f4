from __future__ import annotations

import pytest

from hindcast.deep.ways.ranks.rank import see_gpus
from hindcast.prep.errors import InputError


def test_a_gpu_that_was_asked_for_and_not_given_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^rank 3 on \S+: a GPU was asked for \(spark.task.resource.gpu.amount is 1\)[^\n]*$"):
        see_gpus("1", [], {"HOROVOD_RANK": "3"})


def test_a_rank_without_gpus_is_left_as_it_is() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "5"}
    see_gpus(None, [], environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": "5"}
