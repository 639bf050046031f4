"""The parts of a comparison's page on hidden Markov models: their likelihood and their states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hindcast.classical.hmm.states.regimes import with_truth
from hindcast.classical.hmm.states.states import decode_stretch, describe_states
from hindcast.forecasting.entrant import Entrant
from hindcast.forecasting.report.contents import Likelihood, States
from hindcast.forecasting.report.parts import Parts
from hindcast.forecasting.truth import Truth
from hindcast.prep.dataset.sequence_dataset import SequenceDataset


def sections(entrants: Sequence[Entrant], dataset: SequenceDataset, truth: Truth | None = None) -> Parts:
    """The likelihood of each entrant by iteration, and its states.

    `truth`: the regimes of simulated data, held against the states.
    """
    return Parts(
        likelihood=tuple(_likelihood(entrant) for entrant in entrants if entrant.card and entrant.card.history),
        states=tuple(_states(entrant, dataset, truth) for entrant in entrants),
    )


def _likelihood(entrant: Entrant) -> Likelihood:
    card = entrant.card
    assert card is not None, "an entrant of a kind has a card"
    iteration, total = (np.array([record[field] for record in card.history]) for field in ("iteration", "log_likelihood"))
    return Likelihood(entrant.name, iteration, total / card.part.steps)


def _states(entrant: Entrant, dataset: SequenceDataset, truth: Truth | None) -> States:
    model = entrant.model.model
    stretch = decode_stretch(model, dataset)
    if truth is not None:
        stretch = with_truth(stretch, model, dataset, truth)
    return describe_states(model, dataset, stretch, name=entrant.name)
