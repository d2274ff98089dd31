"""The report is one page that shows everything as text and can ask no host for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from artifacts.report import sections as report_sections
from artifacts.report.html import report_html
from artifacts.report.rows import Asked, Sampled, page_rows
from artifacts.text.visible import visible

ALIVE = [
    "<script>alert(1)</script>",
    "</script><img src=https://example.org/x onerror=alert(2)>",
    "<!--<script>",
    "\x1b[31mFinal: 7\x1b[0m",
    "$x^2$ **b** `c` [d](http://e)",
    "\u202eFinal: 7\u200b",
]


def nasty_rows() -> dict[str, Any]:
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


def page(result: dict[str, Any], **changes: Any) -> str:
    given = {
        "rows": nasty_rows(),
        "verdicts": [("bad_format", "<s>mine", 3), ("bad_format", "b", 3), ("correct", "c", 3)],
        "pictures": {"pass_at_k.png": b"png"},
    } | changes
    return report_html(result, **given)


def test_texts_of_a_run_never_become_markup(evaluation: dict[str, Any]) -> None:
    made = page(evaluation)
    for tag in ("<i>", "<u>", "<s>", "<p>0", "alert(", "onerror"):
        assert tag not in made.replace("<i style", "").replace("<i class", ""), tag
    assert "&lt;i&gt;mine&lt;/i&gt;" in made
    assert "&lt;u&gt;sums&lt;/u&gt;" in made
    assert 'data-value="&lt;s&gt;mine"' in made
    assert made.count("<script") == made.count("</script>") == 3


def test_rows_come_back_as_they_were_put_in(
    evaluation: dict[str, Any], rows_in: Callable[[str], dict[str, Any]]
) -> None:
    rows = rows_in(page(evaluation))
    assert rows == nasty_rows()
    texts = {text.replace("\x1b", "\\u001b") for text in ALIVE[:5]} | {"\\u202eFinal: 7\\u200b"}
    assert set(rows["texts"]) == texts


def test_the_page_can_load_nothing(evaluation: dict[str, Any]) -> None:
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
    evaluation: dict[str, Any],
) -> None:
    (family,) = list(evaluation["families"])[:1]
    odd = "a\\b\u200b"
    named = evaluation | {"families": {odd: evaluation["families"][family]}}
    made = page(named, verdicts=[("bad_format", odd, 3)])
    for facet in ("family", "code"):
        assert f'data-facet={facet} data-value="{visible(odd)}"' in made


def test_a_family_does_not_take_the_place_of_a_rate_with_its_name() -> None:
    def estimate(value: float) -> dict[str, float]:
        return {"value": value, "low": value, "high": value, "problems": 4}

    side = {
        "metrics": {"pass_at_k": {"1": 0.1}, "valid_format_rate": 0.2},
        "intervals": {"pass_at_k": {"1": [0.0, 0.3]}, "valid_format_rate": [0.1, 0.4]},
        "families": {"pass@1": estimate(0.5), "sums": estimate(0.6)},
    }
    rates = {name: rate["value"] for name, rate in report_sections._rates(side).items()}
    assert rates == {"pass@1": 0.1, "valid format": 0.2, "family pass@1": 0.5, "sums": 0.6}


def test_numbers_stand_with_their_intervals(evaluation: dict[str, Any]) -> None:
    made = page(evaluation)
    assert "<b>33 %</b>" in made
    assert "95 % interval 10 % to 70 %, n = 3 problems × 3 samples = 9 completions" in made
    assert "sampling.temperature" in made


def test_only_the_strict_scorer_s_codes_are_explained(evaluation: dict[str, Any]) -> None:
    verdicts = [("bad_format", "empty", 9)]
    assert "nothing at all" in page(evaluation, verdicts=verdicts)
    evaluation["instrument"]["parts"]["scorer"] = "mine@1:abc"
    assert "nothing at all" not in page(evaluation, verdicts=verdicts)


def test_the_same_run_makes_the_same_bytes(evaluation: dict[str, Any]) -> None:
    assert page(evaluation) == page(evaluation)


def test_a_page_that_holds_not_all_says_what_it_lacks(evaluation: dict[str, Any]) -> None:
    rows = nasty_rows() | {"total": 1006, "left_out": {"wrong_answer": 900, "correct": 100}}
    made = page(evaluation, rows=rows)
    assert "6 of 1,006 completions are in this page" in made
    assert "Left out: 900 wrong answer, 100 correct." in made
    assert "Left out" not in page(evaluation)
