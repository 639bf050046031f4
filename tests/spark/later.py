"""Readings that are the same before a time, and after it as different as they can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def changed_from(table: pd.DataFrame, border: pd.Timestamp, numbers: Sequence[str], **new: object) -> pd.DataFrame:
    """`table` of `time` (hours), `id` and others: what comes from `border` on is twice as long, has other `numbers`, empty cells
    and other holes, and a series that was not there before. `new`: what other columns say of that one.
    """
    early, late = table[table.time < border], table[table.time >= border]
    late = pd.concat([late, late.assign(time=late.time + (late.time.max() - border + pd.Timedelta("1h")))])
    stranger = late[late.id == late.id.min()].assign(id="later", **new)
    late, rng = pd.concat([late, stranger], ignore_index=True), np.random.default_rng(0)
    for name in numbers:
        late[name] = np.where(rng.random(len(late)) < 0.05, np.nan, 50 - 7 * late[name])
    kept = (rng.random(len(late)) > 0.05) | (late.time == late.time.max())
    return pd.concat([early, late[kept]], ignore_index=True)
