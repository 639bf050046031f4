"""The page: `write(contents, path)`."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from hindcast.forecasting.report import sections, tables
from hindcast.forecasting.report.contents import Contents
from hindcast.forecasting.report.headline import TIE, headline
from hindcast.forecasting.report.page_template import own_style, rendered, source
from hindcast.forecasting.report.palette import styles
from hindcast.prep.files.placing import placed_file


def write(contents: Contents, path: Path) -> None:
    """Writes the page to `path`, whole or not at all. Raises InputError where it cannot be put there."""
    with placed_file(Path(path)) as staging:
        staging.write_text(render(contents), encoding="utf-8")


def render(contents: Contents) -> str:
    """The page as text: the same for the same contents, and without a request to anything outside it."""
    looks, ranked = styles(contents.models), tables.ranking(contents.models)
    with own_style():
        pictures = {
            "gallery": sections.gallery(contents, looks),
            "horizon": sections.horizon(contents, looks),
            "curves": sections.curves(contents, looks),
            "hidden": sections.states(contents),
        }
    return rendered(
        "page.html",
        {},
        contents=contents,
        setup=contents.setup,
        headline=headline(contents),
        tie=TIE,
        script_hash=_script_hash(),
        looks=looks,
        ranked=ranked,
        quality=tables.quality(ranked),
        cost=tables.cost(ranked),
        by_channel=tables.by_channel(ranked, contents.setup.channels),
        **pictures,
    )


def _script_hash() -> str:
    """Of the page's one script, so that a browser runs no other, whatever a name in the contents may hold."""
    script = re.search(r"<script>(.*?)</script>", source("page.html"), re.DOTALL)
    assert script is not None
    return base64.b64encode(hashlib.sha256(script.group(1).encode()).digest()).decode()
