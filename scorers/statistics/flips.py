"""Two runs of the same problems, problem by problem: which are in both, and which flipped.

`scorers.statistics.paired` estimates how much the runs differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import pyarrow as pa

from schemas.errors import InputError
from scorers.statistics.counts import correct_counts


@dataclass(frozen=True)
class Answer:
    """One completion that stands for a problem's others: its text, and the scorer's code."""

    text: str
    code: str


@dataclass(frozen=True)
class Flip:
    """A problem that the two runs answered with different success.

    `before` and `after` are (correct completions, all completions). The two answers differ in their
    verdict: the right one of the better run, and the wrong one that the other gave most often.
    """

    problem_id: str
    prompt: str
    expected_answer: str
    before: tuple[int, int]
    after: tuple[int, int]
    answer_before: Answer
    answer_after: Answer


def problems_in_both(first: pa.Table, second: pa.Table) -> list[str]:
    """The ids under which both problems tables ask the same question and expect the same answer.

    In the order of the first. An id that names different questions in the two is left out.
    """
    asked = [
        {row["problem_id"]: (row["prompt"], row["expected_answer"]) for row in table.to_pylist()}
        for table in (first, second)
    ]
    return [
        identity for identity, question in asked[0].items() if asked[1].get(identity) == question
    ]


def flipped(
    problems: pa.Table,
    ids: Sequence[str],
    before: tuple[pa.Table, pa.Table],
    after: tuple[pa.Table, pa.Table],
) -> tuple[list[Flip], list[Flip]]:
    """The problems among `ids` that got better and those that got worse, the largest change first.

    `before` and `after` are (completions, scores), which belong together row by row. Raises
    InputError where they are not.
    """
    counts = [correct_counts(scores) for _, scores in (before, after)]
    changes = {
        identity: Fraction(*counts[1][identity]) - Fraction(*counts[0][identity])
        for identity in ids
    }
    changed = {identity for identity, change in changes.items() if change}
    answers = [_answers(*run, changed) for run in (before, after)]
    asked = {row["problem_id"]: row for row in problems.to_pylist() if row["problem_id"] in changed}

    def flip(identity: str) -> Flip:
        better = changes[identity] > 0
        return Flip(
            problem_id=identity,
            prompt=asked[identity]["prompt"],
            expected_answer=asked[identity]["expected_answer"],
            before=counts[0][identity],
            after=counts[1][identity],
            answer_before=_typical(answers[0][identity], correct=not better),
            answer_after=_typical(answers[1][identity], correct=better),
        )

    def largest_first(rising: bool) -> list[Flip]:
        own = [identity for identity in ids if identity in changed]
        own = [identity for identity in own if (changes[identity] > 0) == rising]
        return [flip(identity) for identity in sorted(own, key=lambda name: -abs(changes[name]))]

    return largest_first(True), largest_first(False)


def _answers(
    completions: pa.Table, scores: pa.Table, wanted: set[str]
) -> Mapping[str, list[tuple[bool, Answer]]]:
    """The wanted problems' completions, each with whether it is correct."""
    keys = ("problem_id", "sample_index")
    if any(completions[name].to_pylist() != scores[name].to_pylist() for name in keys):
        raise InputError("the scores are not of these completions, row by row")
    found: dict[str, list[tuple[bool, Answer]]] = {identity: [] for identity in wanted}
    rows = (scores[name].to_pylist() for name in ("problem_id", "reward", "code"))
    for (identity, reward, code), text in zip(
        zip(*rows, strict=True), completions["text"].to_pylist(), strict=True
    ):
        if identity in wanted:
            found[identity].append((reward == 1.0, Answer(text, code)))
    return found


def _typical(answers: Iterable[tuple[bool, Answer]], *, correct: bool) -> Answer:
    """The most frequent of the answers with this verdict, the first of those that tie."""
    return Counter(answer for verdict, answer in answers if verdict == correct).most_common(1)[0][0]
