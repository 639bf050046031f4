"""Checkpoints of a fit, every few iterations. A fit that was killed goes on from the last one, to the same digits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hindcast.classical.em import Fit
from hindcast.classical.persistence import decoded, encoded
from hindcast.prep.errors import InputError
from hindcast.prep.files.placing import placed_file

FORMAT = "hindcast-fit"


@dataclass(frozen=True)
class FileCheckpoint:
    """A checkpoint in one file, replaced as a whole each time.

    about       what is fitted, to what: a fit goes on only from a checkpoint that says the same
    classes     of the models, by name
    resume      whether to go on from what the file holds; without it, a fit begins anew and replaces the file
    every       iterations between two writings
    """

    file: Path
    about: Mapping[str, Any]
    classes: Mapping[str, type]
    resume: bool = False
    every: int = 5

    def save(self, iteration: int, fits: Sequence[Fit[Any]]) -> None:
        if iteration % self.every:
            return
        state = {"format": FORMAT, "about": dict(self.about), "iteration": iteration, "fits": [encoded(fit) for fit in fits]}
        with placed_file(self.file) as staged:
            staged.write_text(json.dumps(state), encoding="utf-8")

    def restore(self, models: int) -> tuple[int, list[Fit[Any]]] | None:
        """The iterations that were made, and the fits of so many models; None where a fit begins anew.

        Raises InputError where there is nothing to go on from, the file is damaged, or is of another fit.
        """
        if not self.resume:
            return None
        mend = "fit without --resume to begin anew"
        try:
            state = json.loads(self.file.read_text(encoding="utf-8"))
            if state["format"] != FORMAT:
                raise ValueError(f"found format {state['format']!r}, expected {FORMAT!r}")
            about, iteration, fits = state["about"], int(state["iteration"]), state["fits"]
            if not isinstance(about, dict) or not isinstance(fits, list) or iteration < 0:
                raise ValueError(f"found iteration {iteration}, about {about!r}")
            restored = [_fit(fit, self.classes) for fit in fits]
        except FileNotFoundError:
            raise InputError(f"{self.file}: there is no checkpoint to resume from: {mend}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise InputError(f"{self.file}: not a checkpoint, or damaged ({error}): {mend}") from None
        expected = json.loads(json.dumps(dict(self.about)))
        for name in sorted(expected.keys() | about.keys()):
            if expected.get(name) != about.get(name):
                theirs, ours = about.get(name), expected.get(name)
                raise InputError(f"{self.file}: is of another fit, whose {name} is {theirs!r}; this one's is {ours!r}: {mend}")
        if len(restored) != models:
            raise InputError(f"{self.file}: is of another fit, of {len(restored)} models; this one is of {models}: {mend}")
        return iteration, restored


def _fit(stored: Any, classes: Mapping[str, type]) -> Fit[Any]:
    fit: Any = decoded(stored, {**classes, "Fit": Fit})
    model: Any = getattr(fit, "model", None)
    if not isinstance(fit, Fit) or type(model) not in classes.values():
        raise ValueError("expected fits of models")
    # Not getattr with a default: that would also hide a fault that cannot be found, of parameters that are no arrays.
    if hasattr(type(model), "fault") and model.fault:
        raise ValueError(model.fault)
    for name in ("log_likelihood", "log_prior", "seconds", "cpu_seconds"):
        setattr(fit, name, list(getattr(fit, name)))
    return fit
