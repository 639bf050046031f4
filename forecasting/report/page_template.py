"""What all pages share: how figures are drawn, and how a template becomes a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined

from hindcast.forecasting.report import numbers

_NUMBERS = ("count", "fixed", "listed", "memory", "percent", "short", "span")


@contextmanager
def own_style() -> Iterator[None]:
    """As long as the `with` lasts, figures have Matplotlib's defaults: no matplotlibrc of the machine changes a page."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield


def rendered(template: str, functions: Mapping[str, Callable[..., Any]], /, **variables: Any) -> str:
    """The page as text, complete in itself. `functions`: filters and functions of the template; `variables`: its other names."""
    environment = Environment(
        loader=PackageLoader("hindcast.forecasting", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(numbers, name) for name in _NUMBERS} | dict(functions)
    environment.globals |= functions
    return environment.get_template(template).render(css=source("page.css"), **variables)


def source(name: str) -> str:
    """The text of a file beside this one."""
    return (files("hindcast.forecasting.report") / name).read_text(encoding="utf-8")
