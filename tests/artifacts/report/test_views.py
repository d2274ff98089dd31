"""The rows that a person reads: failures first, every kind of failure, the invisible visible."""

from __future__ import annotations

import pyarrow as pa

from artifacts.report.views import VIEW_COLUMNS, completions_view, failure_groups, joined

KINDS = {
    "right": ("correct", "exact", "Final: 7"),
    "wrong": ("wrong_answer", "other_integer", "Final: 8"),
    "html": ("bad_format", "other_text", "<b>7</b>\x1b[0m"),
    "space": ("bad_format", "leading_space", " Final: 7"),
}


def answers(*kinds: str, samples: int = 2) -> pa.Table:
    """Problems with `samples` completions each, joined; completion i is of the kind i."""
    ids = [f"p{row // samples}" for row in range(len(kinds))]
    count = len(kinds) // samples
    problems = pa.table(
        {
            "problem_id": [f"p{i}" for i in range(count)],
            "prompt": [f"seven of {i}?" for i in range(count)],
            "expected_answer": ["7"] * count,
            "family": pa.array([None] * count, pa.string()),
        }
    )
    keys = {"problem_id": ids, "sample_index": [row % samples for row in range(len(kinds))]}
    completions = pa.table(
        keys
        | {
            "text": [KINDS[kind][2] for kind in kinds],
            "sum_logprob": [-0.12345] * len(kinds),
            "token_count": [3] * len(kinds),
        }
    )
    scores = pa.table(
        keys
        | {
            "outcome": [KINDS[kind][0] for kind in kinds],
            "code": [KINDS[kind][1] for kind in kinds],
            "reward": [float(kind == "right") for kind in kinds],
        }
    )
    return joined(problems, completions, scores)


def test_failures_come_first_in_columns_ordered_for_reading() -> None:
    view = completions_view(answers("right", "wrong", "html", "right"))
    assert list(view.columns) == list(VIEW_COLUMNS)
    assert list(view.columns)[:8] == [
        "problem", "prompt", "expected", "completion", "outcome", "code", "reward", "logprob",
    ]  # fmt: skip
    assert view["outcome"].tolist() == ["bad_format", "wrong_answer", "correct", "correct"]
    assert view["completion"][0] == "<b>7</b>\\u001b[0m", "text stays text, without live escapes"
    assert view["logprob"][0] == -0.123


def test_a_cut_view_keeps_every_code_and_shows_problems_before_second_samples() -> None:
    kinds = ["html", "html"] * 10 + ["space", "right"] + ["wrong", "wrong"] * 10
    view = completions_view(answers(*kinds), cap=9)
    assert len(view) == 9
    assert set(view["code"]) == {"other_text", "leading_space", "other_integer", "exact"}
    wrong = view[view["outcome"] == "wrong_answer"]
    assert wrong["sample"].tolist() == [0] * len(wrong)
    assert wrong["problem"].is_unique


def test_the_same_tables_give_the_same_view() -> None:
    same = answers(*["html", "wrong"] * 40)
    assert completions_view(same, cap=20).equals(completions_view(same, cap=20))


def test_failures_are_grouped_with_their_first_example() -> None:
    groups = failure_groups(answers("right", "wrong", "html", "wrong"))
    assert [(group.code, group.completions) for group in groups] == [
        ("other_integer", 2),
        ("other_text", 1),
    ]
    assert groups[0].example.as_json() == {
        "problem": "p0",
        "prompt": "seven of 0?",
        "expected": "7",
        "completion": "Final: 8",
    }
