"""What Spark's own pages and its status store say of a job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

KEY = "spark.job.description"


@contextmanager
def described(context: Any, description: str) -> Iterator[None]:
    """The jobs that this thread starts meanwhile are described so, unless a narrower description lies within."""
    before = context.getLocalProperty(KEY)
    context.setJobDescription(description)
    try:
        yield
    finally:
        context.setJobDescription(before)
