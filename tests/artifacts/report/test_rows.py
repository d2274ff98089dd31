"""A report carries whole problems, the worst answered first, and no text as it came."""

from __future__ import annotations

import pyarrow as pa
import pytest

from artifacts.report.page_data import PageRows
from artifacts.report.rows import LONGEST_TEXT, Asked, Sampled, page_rows, shown_text

RIGHT, WRONG, FORM = (
    ("correct", "exact"),
    ("wrong_answer", "other_integer"),
    ("bad_format", "empty"),
)
# problem, verdict and text of each completion, two samples a problem
ROWS = [
    ("a", RIGHT, "Final: 7"),
    ("a", RIGHT, "Final: 7"),
    ("b", WRONG, "Final: 8"),
    ("b", RIGHT, "Final: 7"),
    ("c", FORM, ""),
    ("c", WRONG, "Final: 9"),
]


def problems(names: str) -> pa.Table:
    count = len(names)
    return pa.table(
        {
            "problem_id": list(names),
            "prompt": [f"seven of {name}?" for name in names],
            "expected_answer": ["7"] * count,
            "family": pa.array([None] * count, pa.string()),
        }
    )


def sampled(stage: str, rows: list[tuple[str, tuple[str, str], str]]) -> Sampled:
    ids = [row[0] for row in rows]
    keys = {
        "problem_id": ids,
        "sample_index": pa.array([ids[:i].count(name) for i, name in enumerate(ids)], pa.int32()),
    }
    completions = keys | {
        "text": [row[2] for row in rows],
        "token_count": pa.array([3] * len(rows), pa.int32()),
        "sum_logprob": pa.array([None, *[-0.12345] * (len(rows) - 1)], pa.float64()),
    }
    scores = keys | {
        "reward": [float(row[1] == RIGHT) for row in rows],
        "outcome": [row[1][0] for row in rows],
        "code": [row[1][1] for row in rows],
    }
    return Sampled(stage, pa.table(completions), pa.table(scores))


def shown(page: PageRows) -> list[tuple[str, str, str]]:
    """(problem, code, text) of each row of a page, read back through its lists."""
    ids = page["problems"]["id"]
    return [
        (ids[problem], page["codes"][code or 0], page["texts"][text or 0])
        for problem, code, text in zip(page["problem"], page["code"], page["text"], strict=True)
    ]


def test_every_row_is_there_failures_first() -> None:
    rows = page_rows([Asked(problems("abc"), [sampled("", ROWS)])])
    assert shown(rows) == [
        ("c", "empty", ""),
        ("b", "other_integer", "Final: 8"),
        ("c", "other_integer", "Final: 9"),
        ("a", "exact", "Final: 7"),
        ("a", "exact", "Final: 7"),
        ("b", "exact", "Final: 7"),
    ]
    assert len(rows["texts"]) == 4, "a text that comes again is carried once"
    assert (rows["total"], sum(rows["left_out"].values())) == (6, 0)
    assert rows["logprob"].count(None) == 1


@pytest.mark.parametrize("cap", [2, 3])
def test_a_cap_keeps_whole_problems_those_answered_worst(cap: int) -> None:
    rows = page_rows([Asked(problems("abc"), [sampled("", ROWS)])], cap=cap)
    assert rows["problems"]["id"] == ["c"]
    assert len(rows["problem"]) == 2
    left = {"bad_format": 0, "truncated": 0, "wrong_answer": 1, "correct": 3}
    assert rows["left_out"] == left


def test_long_texts_count_against_a_cap_of_characters() -> None:
    rows = page_rows([Asked(problems("abc"), [sampled("", ROWS)])], characters=20)
    assert rows["problems"]["id"] == ["c"]


def test_so_do_long_questions() -> None:
    asked = problems("abc")
    long = asked.set_column(1, "prompt", pa.array(["seven?", "x" * 99, "x" * 99]))
    rows = page_rows([Asked(long, [sampled("", ROWS)])], characters=120)
    assert rows["problems"]["id"] == ["c"]
    rows = page_rows([Asked(long, [sampled("", ROWS)])], characters=100)
    assert shown(rows) == [("c", "empty", "")], "where no problem fits, what fits of it"


def test_where_no_problem_fits_its_failures_are_kept() -> None:
    rows = page_rows([Asked(problems("abc"), [sampled("", ROWS)])], cap=1)
    assert shown(rows) == [("c", "empty", "")]


def test_what_was_measured_goes_before_what_was_trained_on() -> None:
    asked = [
        Asked(problems("abc"), [sampled("before", ROWS), sampled("after", ROWS)]),
        Asked(problems("xy"), [sampled("step 1", [("x", FORM, "a"), ("y", FORM, "b")])]),
    ]
    rows = page_rows(asked)
    assert rows["stages"] == ["before", "after", "step 1"]
    assert (len(rows["problem"]), rows["problems"]["group"]) == (14, [0, 0, 0, 1, 1])
    capped = page_rows(asked, cap=13)
    assert capped["problems"]["id"] == ["a", "b", "c", "x"]


def test_each_rule_marks_its_own_pick() -> None:
    picks = pa.table(
        {
            "problem_id": ["a", "b", "c"] * 2,
            "sample_index": pa.array([0, 1, 0, 0, 0, 1], pa.int32()),
            "rule": ["oracle"] * 3 + ["random"] * 3,
        }
    )
    rows = page_rows([Asked(problems("abc"), [sampled("", ROWS)])], selections=picks)
    assert rows["rules"] == ["oracle", "random"]
    marks = dict(zip(shown(rows), rows["picked"], strict=True))
    assert marks["c", "empty", ""] == 1
    assert marks["c", "other_integer", "Final: 9"] == 2
    assert sorted(rows["picked"]) == [0, 1, 1, 2, 2, 3]


def test_another_scorer_s_verdict_stands_beside_each_row() -> None:
    before = sampled("", [("a", RIGHT, "")] * 3 + [("a", FORM, "")] * 3).scores
    rows = page_rows([Asked(problems("abc"), [sampled("", ROWS)])], scores_before=before)
    changes = [rows["directions"][change] for change in rows["change"]]
    assert changes == ["", "lost", "moved", "", "", "won"]


def test_texts_are_escaped_and_cut() -> None:
    assert shown_text("\x1b[0m ") == "\\u001b[0m␠"
    assert shown_text("x" * (LONGEST_TEXT + 5)).endswith("x … (5 more)")
