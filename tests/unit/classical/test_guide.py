"""The guide's Python runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_block_of_the_guide_runs(capsys: object) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/hmm.md").read_text(encoding="utf-8"), flags=re.S | re.M)
    assert len(blocks) >= 7
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/hmm.md", "exec"), names)
    assert abs(names["model"].means_[:, 0] - [0, 4]).max() < 0.3  # type: ignore[attr-defined]
