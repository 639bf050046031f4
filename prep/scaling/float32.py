"""What float32 holds: values are stored as such, scaled."""

from __future__ import annotations

# The least magnitude that float32 rounds to infinity: half a step above the largest number that it has.
OVERFLOW = 2.0**128 - 2.0**103
MOST = "3.4028235e+38, the most that float32 holds"
