"""What runs a command as a user types it: its arguments in, its exit status and all that it printed out."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., tuple[int, str]]
