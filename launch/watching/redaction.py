"""Leaves secrets out of records and logs: passwords in addresses, and values whose names sound like secrets."""

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
NAME_AND_VALUE = re.compile(r"([\w.\-]+)=([^\s&'\",;]+)")
SIGNATURE = re.compile(r"(^|-)(sig|signature|credential|security-token)$", re.IGNORECASE)


def redacted(content: Any) -> Any:
    """A copy of a JSON value without secrets; NaN and infinity, which JSON has not, become null."""
    if isinstance(content, dict):
        return {name: HIDDEN if value and _secret(str(name)) else redacted(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [redacted(item) for item in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return redacted_text(content) if isinstance(content, str) else content


def redacted_text(text: str) -> str:
    text = IN_ADDRESS.sub(rf"\1{HIDDEN}@", text)
    return NAME_AND_VALUE.sub(lambda match: f"{match[1]}={HIDDEN}" if _secret(match[1]) else match[0], text)


def redacted_command(words: Sequence[str]) -> str:
    """A command line as a shell takes it, without secrets: also the value of `--name value` is left out."""
    texts = [redacted_text(word) for word in words]
    for number, word in enumerate(words[:-1]):
        if word.startswith("-") and "=" not in word and _secret(word):
            texts[number + 1] = HIDDEN
    return shlex.join(texts)


def _secret(name: str) -> bool:
    return bool(SIGNATURE.search(name) or (SECRET.search(name) and not NO_SECRET.match(name)))
