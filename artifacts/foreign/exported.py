"""A measurement as plain rows, for the writers of other programs' formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

VERDICT = ("reward", "outcome", "code", "parsed_answer")


@dataclass(frozen=True)
class ExportedRun:
    """What a written log says of a run beside its answers.

    `scorer` is `NAME@VERSION`; `instrument` has its parts, which other formats have no field for.
    """

    name: str
    run_id: str
    started_ms: int
    model: str
    dataset: str
    scorer: str
    instrument: Mapping[str, str]
    version: str


def problems_with_answers(
    problems: pa.Table, completions: pa.Table, scores: pa.Table
) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each problem with its answers, each of them with its verdict, in their order."""
    keys = ("problem_id", "sample_index")
    verdicts = {
        tuple(row[key] for key in keys): row for row in scores.select([*keys, *VERDICT]).to_pylist()
    }
    answers: dict[str, list[dict[str, Any]]] = {}
    for row in completions.to_pylist():
        whole = row | verdicts[row["problem_id"], row["sample_index"]]
        answers.setdefault(row["problem_id"], []).append(whole)
    return [(problem, answers[problem["problem_id"]]) for problem in problems.to_pylist()]


def mean_reward(answers: Sequence[Mapping[str, Any]]) -> float:
    """The mean reward of some answers."""
    return float(sum(one["reward"] for one in answers) / len(answers))
