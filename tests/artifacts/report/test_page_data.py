"""The page's script reads what the page carries, and nothing else."""

from __future__ import annotations

import re

import pyarrow as pa

from artifacts.report.html import PAGE
from artifacts.report.page_data import PageProblems, PageRows
from artifacts.report.rows import Asked, Sampled, page_rows

KEYS = {"problem_id": ["a"], "sample_index": pa.array([0], pa.int32())}
PROBLEMS = pa.table(
    {"problem_id": ["a"], "prompt": ["?"], "expected_answer": ["7"], "family": ["sums"]}
)
COMPLETIONS = pa.table(KEYS | {"text": ["7"], "token_count": [1], "sum_logprob": [-1.0]})
SCORES = pa.table(KEYS | {"reward": [1.0], "outcome": ["correct"], "code": ["exact"]})
PICKS = pa.table(KEYS | {"rule": ["oracle"]})
ASKED = [Asked(PROBLEMS, [Sampled("", COMPLETIONS, SCORES)])]


def test_every_value_is_named_in_the_page_s_type() -> None:
    plain = page_rows(ASKED)
    every = PageRows.__annotations__
    assert set(plain) == {name for name, kind in every.items() if "NotRequired" not in str(kind)}
    assert set(plain["problems"]) == set(PageProblems.__annotations__)
    assert set(page_rows(ASKED, PICKS, SCORES)) == set(every)


def test_the_script_reads_no_other_value() -> None:
    script = "\n".join(path.read_text() for path in sorted(PAGE.glob("*.js")))
    assert set(re.findall(r"\bdata\.(\w+)", script)) <= set(PageRows.__annotations__)
    assert set(re.findall(r"\bproblems\.(\w+)", script)) <= set(PageProblems.__annotations__)
