"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable

DASH = "–"
_SPACE = "\u00a0"  # a number and its unit stay on one line
_UNITS = (("day", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))


def is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def decimals(values: Iterable[float | None], digits: int = 3, most: int = 9) -> int:
    """How many decimals show `digits` significant digits of the smallest of these numbers."""
    sizes = [abs(value) for value in values if value is not None and math.isfinite(value) and value != 0]
    if not sizes:
        return digits
    exponent = int(f"{min(sizes):.{digits - 1}e}".split("e")[1])  # of the rounded number: 9.999 is shown as 10.0
    return min(most, max(0, digits - 1 - exponent))


def fixed(value: float | None, places: int) -> str:
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:,.{places}f}"
    return text.replace("-", "−") if text.strip("-0.,") else text.lstrip("-")


def short(value: float | None, digits: int = 3) -> str:
    """Three significant digits, without exponents as long as that is readable."""
    if value is None or not math.isfinite(value):
        return DASH
    if value != 0 and not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    return fixed(value, decimals([value], digits))


def count(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes, in powers of 1000."""
    if value is None:
        return DASH
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= 0.9995 * scale:
            return f"{short(value / scale)}{_SPACE}{unit}"
    return f"{value:.0f}{_SPACE}B"


def memory(value: int) -> str:
    return f"{value / 2**30:.0f}{_SPACE}GiB"


def duration(seconds: float | None) -> str:
    """A duration that was measured: `0.41 s`, `5 min 12 s`, `2 h 03 min`."""
    if seconds is None or not math.isfinite(seconds):
        return DASH
    if seconds < 0.01:
        return f"<{_SPACE}0.01{_SPACE}s" if seconds > 0 else f"0{_SPACE}s"
    if seconds < 99.5:
        return f"{fixed(seconds, 2 if seconds < 9.995 else 0)}{_SPACE}s"
    if seconds < 3570:
        return f"{round(seconds) // 60}{_SPACE}min{_SPACE}{round(seconds) % 60:02d}{_SPACE}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,}{_SPACE}h{_SPACE}{minutes % 60:02d}{_SPACE}min"


def span(seconds: float) -> str:
    """A length of time of the settings: `4 days`, `36 h`, `15 min`."""
    if not math.isfinite(seconds):
        return "for ever"
    for unit, scale in _UNITS:
        if seconds >= (2 if unit == "day" else 1) * scale or unit == "s":
            number = f"{seconds / scale:.3g}" if seconds < 1000 * scale else f"{seconds / scale:,.0f}"
            return f"{number}{_SPACE}{unit}{'s' if unit == 'day' else ''}"
    raise AssertionError("the last unit takes every length")


def percent(share: float, signed: bool = False) -> str:
    """`5.1 %`; a share above 10 % without decimals; `signed` says which way: `+5.1 %`, `−5.1 %`."""
    amount = abs(share) * 100
    if amount > 1000:
        text = f"{amount:,.0f}{_SPACE}%"
    elif 0 < amount < 0.05:
        text = f"<{_SPACE}0.1{_SPACE}%"
    else:
        text = f"{amount:.{1 if amount < 9.95 else 0}f}{_SPACE}%"
    return text if not signed or amount < 0.05 else ("+" if share > 0 else "−") + text


def listed(words: Iterable[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *head, tail = words
    return f"{', '.join(head)} {last} {tail}" if head else tail
