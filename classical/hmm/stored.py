"""The parameters of hidden Markov models as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hindcast.classical.hmm.emissions.autoregressive import Autoregressive
from hindcast.classical.hmm.emissions.categorical import Categorical
from hindcast.classical.hmm.emissions.emission import Emission
from hindcast.classical.hmm.emissions.gaussian import Gaussian
from hindcast.classical.hmm.emissions.mixture import Mixture
from hindcast.classical.hmm.emissions.multinomial import Multinomial
from hindcast.classical.hmm.emissions.poisson import Poisson
from hindcast.classical.hmm.emissions.product import Product
from hindcast.classical.hmm.emissions.shared.gaussian_prior import GaussianPrior
from hindcast.classical.hmm.emissions.shared.mixture_prior import MixturePrior
from hindcast.classical.hmm.emissions.student import Student
from hindcast.classical.hmm.model import HiddenMarkov
from hindcast.classical.persistence import decoded
from hindcast.prep.errors import InputError

# What a stored model may be made of.
CLASSES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        HiddenMarkov,
        Autoregressive,
        Categorical,
        Gaussian,
        GaussianPrior,
        Mixture,
        MixturePrior,
        Multinomial,
        Poisson,
        Product,
        Student,
    )
}


def read_model(file: Path) -> HiddenMarkov[Any]:
    """The parameters in a file. Raises InputError, naming it, where it is missing or damaged, or the parameters are invalid."""
    try:
        return model_of(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{file}: is missing: the model is damaged; fit it again") from None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{file}: not the parameters of a model, or damaged ({error}): fit the model again") from None


def model_of(stored: Any) -> HiddenMarkov[Any]:
    """The model that `encoded` wrote. Raises ValueError where `stored` is no model, or has invalid parameters."""
    model = decoded(stored, CLASSES)
    if not isinstance(model, HiddenMarkov) or not isinstance(model.emission, Emission):
        raise ValueError("expected a hidden Markov model with emissions")
    if model.fault:
        raise ValueError(model.fault)
    return model
