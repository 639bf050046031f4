"""Saved models, whatever their kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from forecasting.card import read_card
from prep.dataset import SequenceDataset

if TYPE_CHECKING:
    from classical.hmm.forecast import HmmForecaster
    from deep.forecaster import LstmForecaster


def load(folder: Path, dataset: SequenceDataset, kind: str | None = None) -> HmmForecaster | LstmForecaster:
    """A saved model that can forecast this dataset. Raises InputError where it cannot, or the folder holds none of that kind."""
    read_card(folder).sequences(folder).check(dataset, folder)
    return load_any(folder, kind)


def load_any(folder: Path, kind: str | None = None) -> HmmForecaster | LstmForecaster:
    """A saved model of this kind, or of the one it says it is. Raises InputError where it cannot be read."""
    if (kind or read_card(folder).kind) == "hmm":
        from classical.hmm.saving import load as load_hmm

        return load_hmm(folder)
    from deep.forecaster import load as load_lstm

    return load_lstm(folder)
