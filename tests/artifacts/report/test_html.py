"""The report is one page that shows everything as text and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from html import unescape
from typing import Any

import pyarrow as pa

from artifacts.report.html import PAGE, report_html
from artifacts.report.page_data import PageRows
from artifacts.report.rows import Asked, Sampled, page_rows
from artifacts.report.sections import VerdictCount
from artifacts.text.visible import visible
from schemas.result_parts import ScorerChange, VerdictGroup
from schemas.results import EvalResult, LearningResult, LoopResult, SelectionResult

ALIVE = [
    "<script>alert(1)</script>",
    "</script><img src=https://example.org/x onerror=alert(2)>",
    "<!--<script>",
    "\x1b[31mFinal: 7\x1b[0m",
    "$x^2$ **b** `c` [d](http://e)",
    "\u202eFinal: 7\u200b",
]


def nasty_rows() -> PageRows:
    keys = {"problem_id": [f"<p>{i}" for i in range(6)], "sample_index": pa.array([0] * 6)}
    problems = {
        "problem_id": keys["problem_id"],
        "prompt": [f"</script><b>{i}" for i in range(6)],
        "expected_answer": ["7"] * 6,
        "family": ["<u>sums</u>"] * 6,
    }
    completions = keys | {
        "text": ALIVE,
        "token_count": [1] * 6,
        "sum_logprob": pa.array([None] * 6, pa.float64()),
    }
    scores = keys | {
        "reward": [0.0] * 6,
        "outcome": ["bad_format"] * 6,
        "code": ["<s>mine", "b"] * 3,
    }
    part = Sampled("", pa.table(completions), pa.table(scores))
    return page_rows([Asked(pa.table(problems), [part])])


COUNTS = [
    VerdictCount("bad_format", "<s>mine", 3),
    VerdictCount("bad_format", "b", 3),
    VerdictCount("correct", "c", 3),
]


def page(
    result: LoopResult,
    rows: PageRows | None = None,
    counts: Sequence[VerdictCount] = COUNTS,
    changes: ScorerChange | None = None,
) -> str:
    return report_html(result, rows or nasty_rows(), counts, {"pass_at_k.png": b"png"}, changes)


def words(made: str) -> str:
    """What a person reads of a page, before its scripts have run."""
    body = made.partition("<body>")[2].partition('<script type="application/gzip"')[0]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())


def test_texts_of_a_run_never_become_markup(evaluation: EvalResult) -> None:
    made = page(evaluation)
    for tag in ("<i>", "<u>", "<s>", "<p>0", "alert(", "onerror"):
        assert tag not in made.replace("<i style", "").replace("<i class", ""), tag
    assert "&lt;i&gt;mine&lt;/i&gt;" in made
    assert "&lt;u&gt;sums&lt;/u&gt;" in made
    assert 'data-value="&lt;s&gt;mine"' in made
    assert made.count("<script") == made.count("</script>") == 3


def test_only_our_own_style_and_script_are_put_in_as_they_are() -> None:
    templates = "".join(path.read_text() for path in sorted(PAGE.glob("*.html")))
    assert re.findall(r"\{\{ (\w+) \| safe \}\}", templates) == ["style", "script"]
    assert len(re.findall(r"\bsafe\b|autoescape", templates)) == 2


def test_rows_come_back_as_they_were_put_in(
    evaluation: EvalResult, rows_in: Callable[[str], dict[str, Any]]
) -> None:
    rows = rows_in(page(evaluation))
    assert rows == nasty_rows()
    texts = {text.replace("\x1b", "\\u001b") for text in ALIVE[:5]} | {"\\u202eFinal: 7\\u200b"}
    assert set(rows["texts"]) == texts


def test_the_page_can_load_nothing(evaluation: EvalResult) -> None:
    made = page(evaluation)
    outside = re.findall(r"(?:src|href|action)\s*=\s*['\"]?([^'\" >]{0,30})", made)
    assert {address[:22] for address in outside} == {"data:image/png;base64,"}
    assert not re.search(
        r"url\(|@import|https?://", re.sub(r"<pre>.*?</pre>", "", made, flags=re.S)
    )
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', made)
    allowed = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert allowed.pop("script-src")
    assert allowed.pop("style-src") == "'unsafe-inline'"
    assert allowed.pop("img-src") == "data:"
    assert set(allowed) == {"default-src", "form-action", "base-uri"}
    assert set(allowed.values()) == {"'none'"}
    (script,) = re.findall(r"<script>(.*?)</script>", made, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy, "its own script may run"
    assert "unsafe-eval" not in policy
    assert policy.count("sha256-") == 2, "and the table library, and no other"


def test_what_filters_by_family_or_code_has_the_value_of_its_option(
    evaluation: EvalResult,
) -> None:
    odd = "a\\b\u200b"
    named = evaluation.model_copy(update={"families": {odd: evaluation.families["pass@1"]}})
    made = page(named, counts=[VerdictCount("bad_format", odd, 3)])
    for facet in ("family", "code"):
        assert f'data-facet="{facet}" data-value="{visible(odd)}"' in made


def test_numbers_stand_with_their_intervals(evaluation: EvalResult) -> None:
    made = page(evaluation)
    assert "<b>33 %</b>" in made
    assert "95 % interval 10 % to 70 %, n = 3 problems × 3 samples = 9 completions" in made
    assert "sampling.temperature" in made


def test_the_page_of_selection_has_what_each_rule_picked(selection: SelectionResult) -> None:
    made = words(page(selection))
    assert "picked by oracle knows the answer 80 % 60 % to 90 % +46.7 +0.0 to +50.0" in made
    assert "picked by majority 40 % 20 % to 50 % +6.7 +0.0 to +50.0" in made
    assert "Best of 3 by the oracle is 0.40 nats from the policy" in made
    assert "policy (95 % interval 0.30 to 0.50, n = 3 problems), bound 0.43." in made
    assert "Samples and picks" in made


def test_the_page_of_learning_has_every_rate_before_and_after(learning: LearningResult) -> None:
    made = words(page(learning))
    assert "before 20 % 95 % interval 10 % to 40 % after 50 % 95 % interval 30 % to 70 %" in made
    assert "valid format 67 % 30 % to 90 % 67 % 30 % to 90 %" in made
    assert "family pass@1 50 % 20 % to 80 %" in made
    assert "2 steps, 7 s; KL to the start 0.00 nats a completion" in made
    assert "completion (95 % interval -0.20 to 0.30, n = 3 problems)." in made
    assert "learned from default" in made
    assert "after learning, n = 9 completions" in made
    assert "Pass rate by family" not in made, "they stand in the headline"


def test_what_another_scorer_says_is_counted_and_filters(evaluation: EvalResult) -> None:
    changes = ScorerChange(
        before="final_int@1",
        after="<i>@2",
        scored_before=True,
        rows=4001,
        correct_in_both=1,
        correct_only_before=0,
        correct_only_after=4000,
        correct_in_neither=0,
        groups=(VerdictGroup(direction="won", codes=("<p>", "exact"), count=4000, rows=()),),
    )
    made = page(evaluation, changes=changes)
    assert "4,000 right only now" in words(made)
    assert 'data-facet="change" data-value="won"' in made
    assert "&lt;p&gt; → exact" in made
    none = changes.model_copy(update={"groups": ()})
    assert "Every verdict is the same." in page(evaluation, changes=none)


def test_only_the_strict_scorer_s_codes_are_explained(evaluation: EvalResult) -> None:
    counts = [VerdictCount("bad_format", "empty", 9)]
    assert "nothing at all" in page(evaluation, counts=counts)
    parts = evaluation.instrument.parts.model_copy(update={"scorer": "mine@1:abc"})
    other = evaluation.instrument.model_copy(update={"parts": parts})
    foreign = evaluation.model_copy(update={"instrument": other})
    assert "nothing at all" not in page(foreign, counts=counts)


def test_a_picture_s_unknown_name_is_its_title(evaluation: EvalResult) -> None:
    made = report_html(evaluation, nasty_rows(), COUNTS, {"<x>.png": b"png"})
    assert 'alt="&lt;x&gt;.png"' in made


def test_the_same_run_makes_the_same_bytes(evaluation: EvalResult) -> None:
    assert page(evaluation) == page(evaluation)


def test_a_page_that_holds_not_all_says_what_it_lacks(evaluation: EvalResult) -> None:
    rows = nasty_rows()
    rows["total"], rows["left_out"] = 1006, {"wrong_answer": 900, "correct": 100}
    made = page(evaluation, rows=rows)
    assert "6 of 1,006 completions are in this page" in made
    assert "Left out: 900 wrong answer, 100 correct." in made
    assert "Left out" not in page(evaluation)
