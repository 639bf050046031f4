"""A Matplotlib figure as markup that can stand inside an HTML page: small, themed by CSS, and the same on every run."""

from __future__ import annotations

import html
import io
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from hindcast.forecasting.report.palette import VARIABLES, stand_in

_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
_NUMBER = re.compile(r"-?\d+\.\d{2,}")


def inline(figure: Figure, name: str, label: str) -> str:
    """The figure as one `<svg>` element.

    `name` is unique on the page and free of spaces: ids start with it. `label` is the text for readers who cannot see it.
    An artist whose gid is `model-3` becomes a group of class `model-3`, which the page can hide.
    """
    settings: Any = {"svg.fonttype": "none", "svg.hashsalt": name, "text.parse_math": False, "path.simplify_threshold": 0.25}
    with matplotlib.rc_context(settings), io.StringIO() as out:
        figure.savefig(out, format="svg", transparent=True, metadata=_METADATA)
        text = out.getvalue()
    width, height = (72 * size for size in figure.get_size_inches())
    body = _shrink(_theme(text[text.index("</defs>", text.index("stroke-linejoin")) + len("</defs>") :]))
    description = html.escape(label)
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{description}"><title>{description}</title>'
    return opening + _own_ids(body, name)


def _theme(text: str) -> str:
    for variable in VARIABLES:
        text = text.replace(stand_in(variable), f"var(--{variable})")
    return re.sub(r"(font-family|font): [^;\"]*;? ?", _font_size_only, text)


def _font_size_only(match: re.Match[str]) -> str:
    """Families are the page's to choose; the `font` shorthand also carries the size."""
    size = re.search(r"[\d.]+px", match.group(0))
    return f"font-size: {size.group(0)}; " if size else ""


def _shrink(text: str) -> str:
    """A tenth of a pixel is as exact as an eye, and six decimals are twice the file. Text and opacities stay as they are."""
    text = re.sub(r" (?:d|x|y|transform)=\"[^\"]*\"", lambda attribute: _NUMBER.sub(_rounded, attribute.group(0)), text)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    text = re.sub(r"\s*\n\s*", " ", text)
    return re.sub(r"> <", "><", text)


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number.group(0)):.1f}".removesuffix(".0")


def _own_ids(text: str, name: str) -> str:
    """Ids that nothing refers to are dropped, and the others made unique on the page."""
    used = set(re.findall(r"(?:href=\"|url\()#([\w.-]+)", text))

    def renamed(match: re.Match[str]) -> str:
        gid = match.group(1)
        if gid in used:
            return f' id="{name}-{gid}"'
        return f' class="{gid}"' if gid.startswith("model-") else ""

    text = re.sub(r" id=\"([^\"]*)\"", renamed, text)
    text = re.sub(r"(href=\"|url\()#([\w.-]+)", rf"\1#{name}-\2", text)
    while "<g></g>" in text:
        text = text.replace("<g></g>", "")
    return text
