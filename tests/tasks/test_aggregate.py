"""A scores table becomes rates, and the instrument is read from the tables."""

from __future__ import annotations

from pathlib import Path

from artifacts.store.instrument import instrument_of
from schemas.references import TableRef
from scorers.final_int import FINAL_INT_1
from tasks.aggregate import aggregate
from tasks.load_completions import load_completions
from tasks.runtime.runtime import Runtime
from tasks.score import score

ANSWERS = """
{"id": "1+2", "samples": ["Final: 3", "Final: 4"]}
{"id": "2+2", "samples": ["Final: 4", "Final: 4"]}
{"id": "4+3", "samples": ["7", "Final: 8"]}
"""


def test_rates_and_counts_are_those_of_the_scores(
    runtime: Runtime, problems: TableRef, tmp_path: Path
) -> None:
    (tmp_path / "answers.jsonl").write_text(ANSWERS)
    _, completions = load_completions(str(tmp_path / "answers.jsonl"), problems)
    scores = score(problems, completions, "final_int@1")
    measured = aggregate(problems, completions, scores)
    summary = measured.summary
    assert (summary.samples, summary.pass_rate.value) == (2, 0.5)
    assert summary.pass_at_k[2].value == 2 / 3
    assert summary.outcomes == {
        "correct": 3, "wrong_answer": 2, "bad_format": 1, "truncated": 0,
    }  # fmt: skip
    assert (measured.policy, measured.scores) == (None, scores)
    assert measured.instrument == instrument_of(
        runtime.store.read(problems),
        runtime.store.read(completions),
        f"{FINAL_INT_1.id}:{FINAL_INT_1.spec_digest}",
    )
