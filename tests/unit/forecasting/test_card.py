"""Cards that are of another version or kind, or damaged, are told apart, each in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hindcast.classical.hmm.part import HmmPart
from hindcast.deep.part import LstmPart
from hindcast.forecasting.card import Part, read_card, typed
from hindcast.prep.errors import InputError

WRITTEN = Path(__file__).resolve().parents[2] / "data" / "v0_2"


def changed(folder: Path, **fields: Any) -> Path:
    """A folder with the card of a hidden Markov model, as 0.2 wrote it, but for some fields; None leaves one out."""
    shutil.copytree(WRITTEN / "hmm", folder)
    card = json.loads((folder / "model.json").read_text()) | fields
    (folder / "model.json").write_text(json.dumps({name: value for name, value in card.items() if value is not None}))
    return folder


def test_a_card_of_version_1_says_the_same_as_one_of_today() -> None:
    card = typed(read_card(WRITTEN / "lstm_series"), "lstm", LstmPart, WRITTEN)
    assert card.version == 2
    assert (card.seed, card.parameters, card.bytes) == (0, 1044, 4 * 1044)
    assert card.gives is not None
    assert (card.gives.deviation, card.gives.levels) == (True, ())
    assert card.sequences("model").channels == ("x", "y")
    assert card.part.settings.head == "gaussian"
    assert card.part.partitioned is not None
    assert card.part.partitioned.fitted == 3
    quantiles = read_card(WRITTEN / "lstm").gives
    assert quantiles is not None
    assert (quantiles.deviation, quantiles.levels) == (False, (0.05, 0.25, 0.5, 0.75, 0.95))
    states = read_card(WRITTEN / "hmm")
    assert states.gives is not None
    assert states.gives.deviation
    assert not states.sequences("model").covariates


def test_a_card_is_written_and_read_as_it_was(tmp_path: Path) -> None:
    card = typed(read_card(WRITTEN / "lstm_series"), "lstm", LstmPart, WRITTEN)
    card.write(tmp_path)
    assert typed(read_card(tmp_path), "lstm", LstmPart, tmp_path) == card


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 3}, r"model\.json: was written by a newer Hindcast: it is of version 3, and this one reads up to version 2"),
        ({"version": 0}, r"model\.json: not the description .* field version"),
        ({"format": "something"}, r"model\.json: not the description .* field format"),
        ({"context": None}, r"model\.json: not the description of a Hindcast model: 'context' is missing"),
        ({"parameters": -1}, "field parameters"),
    ],
)
def test_a_card_that_cannot_be_read_is_named(fields: dict[str, Any], message: str, tmp_path: Path) -> None:
    folder = changed(tmp_path / "model", **fields)
    with pytest.raises(InputError, match=message) as refused:
        read_card(folder)
    assert len(str(refused.value).splitlines()) == 1


def test_the_part_of_a_kind_is_checked_by_the_kind(tmp_path: Path) -> None:
    card = read_card(changed(tmp_path / "model", settings={"states": 2}))
    with pytest.raises(InputError, match=r"field part: settings: 'stopped_by' is missing"):
        typed(card, "hmm", HmmPart, tmp_path)
    with pytest.raises(InputError, match=r"a model of kind 'hmm', not 'lstm'"):
        typed(card, "lstm", LstmPart, tmp_path)


def test_a_kind_that_version_1_did_not_know_has_no_cards_of_it() -> None:
    class Own(Part):
        weight: float

    with pytest.raises(ValueError, match="no cards of version 1"):
        Own.model_validate({"settings of version 1": {}})
