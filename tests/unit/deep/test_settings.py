from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from pydantic import ValidationError

from hindcast.deep.settings import LstmSettings
from hindcast.prep.errors import InputError


def test_settings_are_read_without_tensorflow() -> None:
    code = "import sys, hindcast.deep.settings; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("context", "horizon", "segment"), [(336, 96, 48), (96, 24, 24), (100, 40, 20)])
def test_the_default_segment_is_the_longest_that_divides(
    context: int, horizon: int, segment: int, caplog: pytest.LogCaptureFixture
) -> None:
    assert LstmSettings().for_windows(context, horizon).segment == segment
    assert not caplog.records


def test_a_short_default_segment_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert LstmSettings().for_windows(97, 24).segment == 1
    assert "segments of 1 steps" in caplog.text


def test_a_segment_that_does_not_divide_is_the_users_to_mend() -> None:
    with pytest.raises(InputError, match=r"segment 25: must divide both.*Choose one of 1, 2, 3, 4, 6, 8, 12, 16, 24, 48"):
        LstmSettings(segment=25).for_windows(336, 96)


def test_the_plain_network_knows_no_segments() -> None:
    assert LstmSettings(network="plain", segment=7).for_windows(10, 3).segment == 7


def test_batches_count_sequences_for_the_segment_network_and_windows_for_the_plain_one() -> None:
    assert [LstmSettings(batch=256).windows_a_step(channels) for channels in (1, 7, 321)] == [256, 37, 1]
    assert LstmSettings(batch=256, network="plain").windows_a_step(7) == 256


@pytest.mark.parametrize("wrong", [{"unit": 3}, {"dropout": 1.0}, {"batch": 0}, {"network": "gru"}, {"patience": 0}])
def test_unknown_names_and_impossible_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LstmSettings.model_validate(wrong)


@pytest.mark.parametrize(
    ("together", "said"),
    [
        ({"line": 0.2, "normalise": "mean"}, "they need normalise"),
        ({"line": 0.3, "skip": "linear"}, "leave one of them out"),
        ({"mixing": True, "normalise": "mean"}, "it needs normalise"),
        ({"spectrum": 0.5}, "changes nothing"),
        ({"spectrum": 0.5, "loss": "mae", "head": "quantiles"}, "changes nothing"),
        ({"mixing": True, "series_embedding": 4}, "is of neither"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(together: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LstmSettings.model_validate(together)


def test_members_seeds_begin_with_the_settings_own() -> None:
    assert LstmSettings(seed=3).member_seeds == (3,)
    seeds = {seed for start in range(50) for seed in LstmSettings(seed=start, members=5).member_seeds}
    assert len(seeds) == 250
