"""One fixed look a model, on the whole page and in both themes.

Figures are drawn in stand-in colours, each of which `svg.inline` replaces with a CSS variable: the page then decides, by the
reader's theme, what the variable is. Models have strong colours (Okabe and Ito's, safe for colour-blind readers) and solid
lines; baselines are grey, and told apart by their dashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.colors import to_hex

from hindcast.forecasting.report.contents import Model

MODEL_COLOURS, BASELINE_COLOURS, STATE_COLOURS = 6, 3, 8
VARIABLES = (
    "ink",
    "muted",
    "rule",
    "shade",
    *(f"model{index}" for index in range(MODEL_COLOURS)),
    *(f"baseline{index}" for index in range(BASELINE_COLOURS)),
    *(f"state{index}" for index in range(STATE_COLOURS)),
)
_MODEL_DASHES = ((), (7.0, 2.0), (2.0, 1.5), (7.0, 2.0, 2.0, 2.0))
_BASELINE_DASHES = ((1.2, 2.0), (6.0, 2.0, 1.2, 2.0), (4.5, 2.0), (9.0, 3.0))


@dataclass(frozen=True)
class Style:
    """How a model is drawn: `key` names it in the page's markup, `variable` is its colour, `dashes` are in line widths."""

    key: str
    variable: str
    dashes: tuple[float, ...]
    width: float

    @property
    def colour(self) -> str:
        return stand_in(self.variable)

    @property
    def dash_array(self) -> str:
        """For an SVG line drawn in the page itself, in pixels; empty for a solid line."""
        return " ".join(f"{dash * self.width:g}" for dash in self.dashes)


def styles(models: Iterable[Model]) -> dict[str, Style]:
    """Model name -> its style; the n-th model, or the n-th baseline, always looks the same."""
    looks: dict[str, Style] = {}
    counts = {"model": 0, "baseline": 0}
    for number, model in enumerate(models):
        rank = counts[model.role]
        counts[model.role] += 1
        if model.role == "model":
            dashes = _MODEL_DASHES[rank // MODEL_COLOURS % len(_MODEL_DASHES)]
            looks[model.name] = Style(f"model-{number}", f"model{rank % MODEL_COLOURS}", dashes, 1.7)
        else:
            dashes = _BASELINE_DASHES[rank % len(_BASELINE_DASHES)]
            looks[model.name] = Style(f"model-{number}", f"baseline{rank % BASELINE_COLOURS}", dashes, 1.3)
    return looks


def stand_in(variable: str) -> str:
    """The colour that stands in a figure for a CSS variable."""
    return f"#0101{VARIABLES.index(variable):02x}"


def state_colours(count: int) -> list[str]:
    """CSS colours for hidden states: a palette of eight, or, for more of them, a ramp."""
    if count <= STATE_COLOURS:
        return [f"var(--state{index})" for index in range(count)]
    return [to_hex(colormaps["viridis"](0.08 + 0.9 * index / (count - 1))) for index in range(count)]


def drawable(css: str) -> str:
    """What Matplotlib draws for a CSS colour of `state_colours`."""
    return stand_in(css[len("var(--") : -1]) if css.startswith("var(") else css
