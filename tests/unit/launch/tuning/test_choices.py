from __future__ import annotations

import numpy as np
import pytest

from hindcast.deep.kind import LSTM
from hindcast.deep.settings import LstmSettings
from hindcast.launch.tuning.choices import Choice, parse, settings_to_try, tried_fields
from hindcast.prep.errors import InputError

BASE = LstmSettings(clip_norm=1.0, epochs=3)


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("lstm.units=64,128, 256", Choice(LSTM, "units", (64, 128, 256))),
        ("lstm.dropout=0.2", Choice(LSTM, "dropout", (0.2,))),
        ("lstm.normalise=none,last", Choice(LSTM, "normalise", ("none", "last"))),
        ("lstm.clip_norm=none,0.5", Choice(LSTM, "clip_norm", (None, 0.5))),
        ("lstm.mask=true,none", Choice(LSTM, "mask", (True, None))),
        ("lstm.learning_rate=1e-4..1e-2", Choice(LSTM, "learning_rate", (), 1e-4, 1e-2)),
        ("lstm.units=16..64", Choice(LSTM, "units", (), 16, 64)),
    ],
)
def test_lists_and_ranges_are_read(text: str, choice: Choice) -> None:
    assert parse(text) == choice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lstm.unit=3", r"--try lstm\.unit: no setting that can be tuned; there are .*lstm\.units"),
        ("hmm.states=3", r"--try hmm\.states: no setting that can be tuned"),
        ("units=3", r"--try units: no setting that can be tuned"),
        ("lstm.units", r"--try lstm\.units: expected values"),
        ("lstm.units=", r"--try lstm\.units=: expected values"),
        ("lstm.units=3,zero", r"--try lstm\.units: .*found 'zero'"),
        ("lstm.units=3,,4", r"--try lstm\.units: .*found ''"),
        ("lstm.units=none", r"--try lstm\.units: .*found 'none'"),
        ("lstm.dropout=0.2,1.5", r"--try lstm\.dropout: .*less than 1, found '1\.5'"),
        ("lstm.learning_rate=inf", r"--try lstm\.learning_rate: found 'inf'"),
        ("lstm.units=64,128,64", r"--try lstm\.units: 64 is there twice"),
        ("lstm.dropout=0..0.5", r"--try lstm\.dropout: found 0\.\.0\.5; a range is drawn log-uniformly"),
        ("lstm.dropout=0.5..0.1", r"--try lstm\.dropout: found 0\.5\.\.0\.1"),
        ("lstm.dropout=0.5..1.5", r"--try lstm\.dropout: .*found '1\.5'"),
        ("lstm.network=plain..segment", r"--try lstm\.network: a range is of numbers"),
        ("lstm.covariates=false..true", r"--try lstm\.covariates: a range is of numbers"),
        ("lstm.loss=mse,mae", r"--try lstm\.loss: validation losses of another loss cannot be compared"),
        ("lstm.silence_seconds=1,2", r"--try lstm\.silence_seconds: has no effect"),
    ],
)
def test_what_is_no_setting_or_value_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_to_try([text], BASE, None, 0)


def test_a_setting_is_tried_once() -> None:
    with pytest.raises(InputError, match=r"--try lstm\.units: is given twice"):
        tried_fields(["lstm.units=3", "lstm.dropout=0.2", "lstm.units=4"])


def test_without_a_number_all_combinations_are_tried_in_order() -> None:
    found = settings_to_try(["lstm.units=4,8", "lstm.clip_norm=none,2.0"], BASE, None, 0)
    assert [(one.units, one.clip_norm) for one in found] == [(4, None), (4, 2.0), (8, None), (8, 2.0)]
    assert {one.epochs for one in found} == {3}
    assert settings_to_try(["lstm.units=4,8"], BASE, 7, 0) == settings_to_try(["lstm.units=4,8"], BASE, None, 1)


def test_so_many_are_drawn_from_the_grid_each_once_and_again_with_the_same_seed() -> None:
    tries = ["lstm.units=4,8,16,32", "lstm.dropout=0.1,0.2,0.3,0.4,0.5"]
    found = settings_to_try(tries, BASE, 12, 3)
    assert len({(one.units, one.dropout) for one in found}) == len(found) == 12
    assert found == settings_to_try(tries, BASE, 12, 3) != settings_to_try(tries, BASE, 12, 4)


def test_ranges_are_drawn_log_uniformly() -> None:
    found = settings_to_try(["lstm.learning_rate=1e-4..1e-2", "lstm.units=16..64", "lstm.layers=1,2"], BASE, 400, 0)
    rates, units = np.array([one.learning_rate for one in found]), np.array([one.units for one in found])
    assert rates.min() >= 1e-4
    assert rates.max() <= 1e-2
    assert (units.min(), units.max()) == (16, 64)
    # A half of a log-uniform sample lies below the geometric mean; four deviations of 400 draws.
    for sample, middle in ((rates, 1e-3), (units, 32)):
        assert abs((sample < middle).mean() - 0.5) < 0.1
    assert {one.layers for one in found} == {1, 2}
    assert found[:5] == settings_to_try(["lstm.learning_rate=1e-4..1e-2", "lstm.units=16..64", "lstm.layers=1,2"], BASE, 5, 0)


def test_a_range_without_a_number_of_trials_is_refused() -> None:
    with pytest.raises(InputError, match=r"--try lstm\.units: a range has no end of values: say how many to draw with --trials"):
        settings_to_try(["lstm.units=16..64"], BASE, None, 0)


def test_few_different_numbers_in_a_range_end_the_drawing() -> None:
    assert sorted(one.units for one in settings_to_try(["lstm.units=3..5"], BASE, 10, 0)) == [3, 4, 5]


def test_a_grid_without_end_is_refused() -> None:
    tries = [f"lstm.{name}=" + ",".join(map(str, range(1, 40))) for name in ("units", "epochs", "batch")]
    with pytest.raises(InputError, match="59,319 trials: at most 10,000"):
        settings_to_try(tries, BASE, None, 0)
    assert len(settings_to_try(tries, BASE, 5, 0)) == 5
