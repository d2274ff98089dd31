"""The report in a real browser: it searches, groups and shows, runs no text and asks no host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from artifacts.report.html import report_html
from artifacts.report.rows import Asked, Sampled, page_rows
from artifacts.report.sections import VerdictCount
from schemas.results import EvalResult

NASTY = "</script><img src=http://127.0.0.1:9/x onerror=alert(1)>\x1b[0m "
STATUS = "document.querySelector('#completions-pane .status').textContent"
CELLS = "[...document.querySelectorAll('#completions td.completion')].map(c => c.textContent)"


@pytest.fixture
def report(tmp_path: Path, evaluation: EvalResult) -> Path:
    """Three problems with three samples, of which one rule picked the last."""
    keys = {
        "problem_id": [name for name in "abc" for _ in range(3)],
        "sample_index": pa.array([0, 1, 2] * 3),
    }
    problems = {
        "problem_id": list("abc"),
        "prompt": ["first?", "second?", "third?"],
        "expected_answer": ["7"] * 3,
        "family": ["sums"] * 3,
    }
    texts = ["Final: 7", "Final: 8", "Final: 7", NASTY, "Final: 8", "", "Final: 7\n", "no", "nope"]
    codes = ["exact", "other", "exact", "html", "other", "empty", "newline", "html", "html"]
    outcomes = {"exact": "correct", "other": "wrong_answer"}
    completions = keys | {"text": texts, "token_count": [3] * 9, "sum_logprob": [-1.5] * 9}
    scores = keys | {
        "reward": [float(code == "exact") for code in codes],
        "outcome": [outcomes.get(code, "bad_format") for code in codes],
        "code": codes,
    }
    picks = {
        "problem_id": list("abc"),
        "sample_index": pa.array([2, 2, 2]),
        "rule": ["majority"] * 3,
    }
    part = Sampled("", pa.table(completions), pa.table(scores))
    rows = page_rows([Asked(pa.table(problems), [part])], selections=pa.table(picks))
    counts = [
        VerdictCount("bad_format", code, codes.count(code)) for code in ("html", "empty", "newline")
    ]
    path = tmp_path / "report.html"
    path.write_text(report_html(evaluation, rows, counts, {}))
    return path


def test_a_person_filters_searches_and_sees_every_sample(tab: Any, report: Path) -> None:
    tab.open(report)
    assert tab.js("document.documentElement.dataset.failed ?? ''") == ""
    assert tab.js(STATUS) == "9 of 9 completions"
    tab.js("document.querySelector('[data-facet=code][data-value=html]').click()")
    assert tab.js(STATUS) == "3 of 9 completions"
    assert NASTY.replace("\x1b", "\\u001b")[:-1] + "␣" in tab.js(CELLS), "markup is shown as text"
    tab.js("document.querySelector('#completions-pane .reset').click()")
    tab.js(
        "const field = document.querySelector('input.search'); field.value = 'NOPE third';"
        "field.dispatchEvent(new Event('input'))"
    )
    tab.until(f"{STATUS} === '1 of 9 completions'")
    assert tab.js(CELLS) == ["nopemajority"]
    tab.js("document.querySelector('#completions tbody tr').click()")
    assert "third?" in tab.js("document.querySelector('#completions .facts').textContent")

    tab.js("document.getElementById('tab-problems').click()")
    counts = "[...document.querySelectorAll('#problems .count')].map(c => c.textContent)"
    assert tab.js(counts) == ["2/3", "0/3", "0/3"]
    assert tab.js("document.querySelectorAll('#problems .chip').length") == 9, "all samples"
    picked = "[...document.querySelectorAll('#problems .picked')].map(c => c.textContent)"
    assert tab.js(picked) == ["Final: 7majority", "(empty)majority", "nopemajority"]


def test_it_works_in_a_frame_that_may_only_run_scripts(
    tab: Any, report: Path, tmp_path: Path
) -> None:
    text = json.dumps(report.read_text()).replace("<", "\\u003c")
    page = tmp_path / "viewer.html"  # it shows an artifact in the way that MLflow's page does
    page.write_text(
        "<body><script>const frame = document.createElement('iframe');"
        "frame.sandbox = 'allow-scripts';"
        f"frame.src = URL.createObjectURL(new Blob([{text}], {{type: 'text/html'}}));"
        "document.body.append(frame); document.documentElement.dataset.ready = 1;</script>"
    )
    tab.open(page)
    with tab.frame() as frame:
        assert frame.js(STATUS) == "9 of 9 completions"


def test_no_text_runs_and_no_host_is_asked(tab: Any, report: Path) -> None:
    tab.events.clear()
    tab.open(report)
    tab.js("document.getElementById('tab-problems').click()")
    tab.js("document.querySelector('#problems tbody tr:nth-child(2)').click()")
    assert tab.requested() == [report.as_uri()]
    methods = {event["method"] for event in tab.events}
    assert "Page.javascriptDialogOpening" not in methods
    assert "Runtime.exceptionThrown" not in methods
    assert "Log.entryAdded" not in methods, "the page's policy had nothing to refuse"
    assert tab.js("document.querySelectorAll('main img').length") == 0
