"""Why a completion ended: the two words that a completions table and every scorer know."""

from __future__ import annotations

STOP = "stop"  # the model ended it itself
LENGTH = "length"  # it was cut off
FINISH_REASONS = (STOP, LENGTH)
