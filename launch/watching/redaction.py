"""What must not be written down is left out: passwords in addresses, and whatever a name calls a secret."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from typing import Any

HIDDEN = "***"
# Everybody on this machine sees a command line. What Kubernetes calls secrets are names of theirs.
SECRET = re.compile(r"(secret|password|token|(access|account|private)\.?key)(?!s?\w*\.?(file|provider|enabled))", re.IGNORECASE)
NO_SECRET = re.compile(r"spark\.kubernetes\.|spark\.security\.credentials\.")
# Who an address says that one is.
IN_ADDRESS = re.compile(r"(\b[a-zA-Z][\w+.-]*://)[^/\s@'\"]+@")
# name=value, in a query, a setting, or a property of Java's.
NAMED = re.compile(r"([\w.\-]+)=([^\s&'\",;]+)")
SIGNATURE = re.compile(r"(^|-)(sig|signature|credential|security-token)$", re.IGNORECASE)


def redacted(told: Any) -> Any:
    """A copy of what JSON holds, without secrets; a number that is none becomes null, which JSON has not."""
    if isinstance(told, dict):
        return {name: HIDDEN if value and _secret(str(name)) else redacted(value) for name, value in told.items()}
    if isinstance(told, list | tuple):
        return [redacted(one) for one in told]
    if isinstance(told, float) and not math.isfinite(told):
        return None
    return redacted_text(told) if isinstance(told, str) else told


def redacted_text(text: str) -> str:
    text = IN_ADDRESS.sub(rf"\1{HIDDEN}@", text)
    return NAMED.sub(lambda found: f"{found[1]}={HIDDEN}" if _secret(found[1]) else found[0], text)


def redacted_command(words: Sequence[str]) -> str:
    """A command line as a shell takes it; also of `--name value` the value is left out."""
    told = [redacted_text(word) for word in words]
    for number, word in enumerate(words[:-1]):
        if word.startswith("-") and "=" not in word and _secret(word):
            told[number + 1] = HIDDEN
    return shlex.join(told)


def _secret(name: str) -> bool:
    return bool(SIGNATURE.search(name) or (SECRET.search(name) and not NO_SECRET.match(name)))
