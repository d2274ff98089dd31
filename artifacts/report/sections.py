"""What the templates of a report are filled with, where that is more than the result itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from artifacts.text.codes import code_words
from artifacts.text.describe import OUTCOME_WORDS
from schemas.result_parts import InstrumentRecord

LONGEST_BAR = 110  # pixels
PART_WORDS = {"prompt_template": "prompt template"}
PICTURE_TITLES = {"pass_at_k.png": "More samples of a problem", "learning.png": "How learning went"}


@dataclass(frozen=True)
class VerdictCount:
    """How many completions have one outcome and code."""

    outcome: str
    code: str
    completions: int


@dataclass(frozen=True)
class OutcomeLine:
    """One outcome with its words."""

    name: str
    words: str
    completions: int


@dataclass(frozen=True)
class CodeLine:
    """One code of failures; `pixels` is the length of its bar, `words` are empty if unknown."""

    outcome: str
    code: str
    completions: int
    words: str
    pixels: int


@dataclass(frozen=True)
class Verdicts:
    """All completions by outcome, and the failures by code, most frequent first."""

    completions: int
    outcomes: tuple[OutcomeLine, ...]
    codes: tuple[CodeLine, ...]


def verdicts(counts: Sequence[VerdictCount], scorer: str) -> Verdicts:
    """Completions by outcome and by code.

    Codes of the strict scorers are explained; what others mean by theirs is not known here.
    """
    counts = sorted(counts, key=lambda c: (-c.completions, c.outcome, c.code))
    failed = [count for count in counts if count.outcome != "correct"]
    words = code_words(scorer)
    return Verdicts(
        completions=sum(count.completions for count in counts),
        outcomes=tuple(
            OutcomeLine(name, text, sum(c.completions for c in counts if c.outcome == name))
            for name, text in OUTCOME_WORDS.items()
        ),
        codes=tuple(
            CodeLine(
                count.outcome,
                count.code,
                count.completions,
                words.get(count.code, ""),
                round(LONGEST_BAR * count.completions / failed[0].completions),
            )
            for count in failed
        ),
    )


def instrument_parts(instrument: InstrumentRecord) -> dict[str, str]:
    """The parts of an instrument by their words."""
    parts = instrument.parts.model_dump() | {"sampling": _settings(instrument.parts.sampling)}
    return {PART_WORDS.get(name, name): str(value) for name, value in parts.items()}


def _settings(recorded: str) -> str:
    """Settings that an instrument has as JSON, in words; other texts as they are."""
    try:
        settings = json.loads(recorded)
    except ValueError:
        return recorded
    if not isinstance(settings, dict) or not settings:
        return recorded
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
