"""The gate at the end of learning or on request: decide, record, and move the alias if it says so.

How it decides is `artifacts/gate.py`.
"""

from __future__ import annotations

from typing import Any

from artifacts.promotion.decisions import record_decision
from artifacts.promotion.gate import decide
from artifacts.registry.versions import RegisteredVersion


def decide_and_record(version: RegisteredVersion, min_gain: float = 0.0) -> dict[str, Any]:
    """The decision with its evidence, kept as a run of its own; `min_gain` is a rate from 0 to 1.

    A refusal is an answer and no error.
    """
    decided = decide(version, min_gain)
    decided["champion"] = version.name if decided["promoted"] else None
    decided["run_id"] = record_decision(version, decided)
    return decided
