"""Cards of version 1, which Hindcast 0.2 wrote: of two kinds of models, all fields in one table."""

from __future__ import annotations

from typing import Any

HMM = "hmm"


def of_version_1(stored: dict[str, Any], part: str) -> dict[str, Any]:
    """The card as one of version 2. Its `settings`, which only its kind understands, become its part, under the name `part`.

    Raises KeyError for a field that is missing.
    """
    settings, kind = stored["settings"], stored["kind"]
    head = settings.get("head")
    return {
        "format": stored["format"],
        "kind": kind,
        "data": {
            **{name: stored[name] for name in ("channels", "step_micros", "context", "horizon", "scaling")},
            "lead": stored.get("lead", 0),
            "digest": stored["dataset"],
            "covariates": settings.get("covariates", False),
            "preparation": stored.get("preparation"),
        },
        "gives": {
            "deviation": kind == HMM or head in ("gaussian", "student"),
            "levels": settings["levels"] if head == "quantiles" else (),
        },
        **{name: stored[name] for name in ("parameters", "fit_seconds", "fit_cpu_seconds", "history", "versions")},
        "bytes": stored["parameters"] * (8 if kind == HMM else 4),
        "seed": settings.get("seed"),
        "notes": settings.get("notes", ()),
        "part": {part: settings},
    }
