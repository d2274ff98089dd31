"""A scorer against golden rows: texts for which a person has said what they should earn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.errors import InputError
from schemas.finish_reasons import STOP
from scorers.scorer import Scorer


@dataclass(frozen=True)
class GoldenRow:
    """One text, the integer that its problem expects, and the reward that it should get."""

    problem_id: str
    completion: str
    expected_answer: str
    expected_reward: float
    finish_reason: str = STOP


@dataclass(frozen=True)
class Miss:
    """A golden row that got another reward than expected, with the row's place in the list."""

    place: int
    row: GoldenRow
    reward: float
    outcome: str
    code: str


@dataclass(frozen=True)
class GoldenReport:
    """How a scorer did on `rows` golden rows.

    `false_positives` got more than they should: exploits that are rewarded. `false_negatives` got
    less.
    """

    scorer: str
    rows: int
    false_positives: tuple[Miss, ...]
    false_negatives: tuple[Miss, ...]

    @property
    def misses(self) -> tuple[Miss, ...]:
        """All misses, the exploits first, because they do more harm."""
        return self.false_positives + self.false_negatives

    @property
    def passed(self) -> bool:
        """Whether every row got exactly what it should."""
        return not self.misses


def golden_rows(
    records: Iterable[Mapping[str, Any]], expected_answers: Mapping[str, str]
) -> list[GoldenRow]:
    """Golden rows from records with `id`, `completion`, `expected_reward`, maybe `finish_reason`.

    `expected_answers` maps problem ids to their integers. Raises InputError, naming the row, for a
    missing field, an unknown problem, a completion that is not text, or a reward outside [0, 1].
    """
    rows = []
    for place, record in enumerate(records):
        where = f"golden row {place}"
        if missing := {"id", "completion", "expected_reward"} - record.keys():
            raise InputError(f"it has no {', '.join(sorted(missing))}", where)
        identity, completion, reward = (
            record[name] for name in ("id", "completion", "expected_reward")
        )
        if identity not in expected_answers:
            raise InputError(f"there is no problem {identity!r}", where)
        if not isinstance(completion, str):
            raise InputError(f"its completion is {completion!r}, not text", where)
        if not isinstance(reward, int | float) or not 0 <= reward <= 1:
            raise InputError(f"its expected_reward is {reward!r}, not from 0 to 1", where)
        finish_reason = record.get("finish_reason", STOP)
        rows.append(
            GoldenRow(
                identity, completion, expected_answers[identity], float(reward), finish_reason
            )
        )
    return rows


def check_golden(scorer: Scorer, rows: Sequence[GoldenRow]) -> GoldenReport:
    """Score the rows in one pass and list those that do not get what they should.

    Raises InputError without rows, because a check of nothing would pass.
    """
    if not rows:
        raise InputError("there are no golden rows, so nothing was checked")
    verdicts = scorer.score(
        pa.array([row.completion for row in rows], pa.string()),
        pa.array([row.finish_reason for row in rows], pa.string()),
        pa.array([row.expected_answer for row in rows], pa.string()),
    ).to_pylist()
    misses = [
        Miss(place, row, verdict["reward"], verdict["outcome"], verdict["code"])
        for place, (row, verdict) in enumerate(zip(rows, verdicts, strict=True))
        if not math.isclose(verdict["reward"], row.expected_reward, rel_tol=0, abs_tol=1e-9)
    ]
    return GoldenReport(
        scorer=scorer.id,
        rows=len(rows),
        false_positives=tuple(miss for miss in misses if miss.reward > miss.row.expected_reward),
        false_negatives=tuple(miss for miss in misses if miss.reward < miss.row.expected_reward),
    )
