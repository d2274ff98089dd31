"""The gate, at the end of learning or on request: decide, and record the decision."""

from __future__ import annotations

from artifacts.promotion.decisions import record_decision
from artifacts.promotion.gate import decide
from artifacts.registry.versions import RegisteredVersion
from artifacts.tracking.archive import Archive
from schemas.results import Decision


def decide_and_record(
    archive: Archive, version: RegisteredVersion, min_gain: float = 0.0
) -> Decision:
    """The decision with its evidence, kept as a run of its own; `min_gain` is a rate from 0 to 1.

    A refusal is an answer, not an error.
    """
    return record_decision(archive, version, decide(archive, version, min_gain))
