from __future__ import annotations

import pytest

from deep.ranks.rank import see_gpus, visible_devices
from prep.errors import InputError


@pytest.mark.parametrize(
    ("addresses", "already", "expected"),
    [
        (["1"], None, "1"),
        (["0"], "", "0"),
        (["1"], "4,6", "6"),
        (["1", "0"], "4, 6", "6,4"),
        (["0", "1"], "GPU-a,GPU-b", "GPU-a,GPU-b"),
        (["GPU-b"], "GPU-a,GPU-b", "GPU-b"),
        (["GPU-b"], None, "GPU-b"),
    ],
)
def test_a_ranks_gpus_are_those_that_its_executor_sees(addresses: list[str], already: str | None, expected: str) -> None:
    assert visible_devices(addresses, already) == expected


@pytest.mark.parametrize(
    ("address", "already"), [("2", "4,6"), ("6", "4,6"), ("GPU-c", "GPU-a,GPU-b"), ("0", "-1"), ("-1", "4,6")]
)
def test_a_gpu_that_the_executor_does_not_see_is_refused_in_one_line(address: str, already: str) -> None:
    with pytest.raises(
        InputError, match=rf"^GPU {address}, which .* its executor sees \(CUDA_VISIBLE_DEVICES={already}\)[^\n]*$"
    ):
        visible_devices([address], already)


def test_a_gpu_that_was_asked_for_and_not_given_is_said_in_one_line() -> None:
    with pytest.raises(InputError, match=r"^rank 3 on \S+: a GPU was asked for \(spark.task.resource.gpu.amount is 1\)[^\n]*$"):
        see_gpus("1", [], {"HOROVOD_RANK": "3"})


def test_a_rank_without_gpus_is_left_as_it_is() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "5"}
    see_gpus(None, [], environment)
    assert environment == {"CUDA_VISIBLE_DEVICES": "5"}
