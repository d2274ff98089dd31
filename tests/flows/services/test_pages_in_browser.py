"""What a person sees in a real browser, on the real servers, after a small demo.

It needs Chromium, headless, and is skipped where there is none. With THREELOOPS_SCREENSHOTS set to
a folder, each page is also kept there as a picture.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from artifacts.tracking.history import RunRecord
from flows.orchestration.up_file import Served, new_links
from tasks.runtime.runtime import process_runtime
from tests.data_folder import find_run
from tests.flows.services.browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.untraced,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here"),
]


@pytest.fixture(scope="module")
def browser(browser: Browser, running: dict[str, str]) -> Browser:
    """One that has opened a link, which is enough for both pages."""
    browser.open(new_links(Served.model_validate(running))["MLflow"], "Experiments")
    return browser


@pytest.fixture(scope="module")
def demo(
    running: dict[str, str], environment: dict[str, str], tiny: str, small_sums: str
) -> dict[str, Any]:
    """The result of a small demo that ran on the running servers."""
    model = ["--model", os.environ.get("THREELOOPS_SCREENSHOTS_MODEL", tiny)]
    size = ["--dataset", small_sums, "--steps", "2", "--limit", "4"]
    if "THREELOOPS_SCREENSHOTS_MODEL" in os.environ:
        size = ["--steps", "10"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "demo", "--json", *model, *size],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture
def runs(served: dict[str, str], demo: dict[str, Any]) -> dict[str, RunRecord]:
    """The demo's run and those of its loops, by letter."""
    found = {letter: find_run(run_id) for letter, run_id in demo["runs"].items()}
    return found | {"demo": find_run(demo["demo_run_id"])}


@pytest.fixture
def page_of(served: dict[str, str]) -> Callable[..., str]:
    """The address of a run's page in MLflow."""

    def address(run: RunRecord, inner: str = "") -> str:
        experiment = process_runtime().archive.tracking.experiment_id
        return f"{served['mlflow']}/#/experiments/{experiment}/runs/{run.run_id}{inner}"

    return address


def test_a_run_says_what_was_measured_on_what_and_why_answers_failed(
    browser: Browser, runs: dict[str, RunRecord], page_of: Callable[..., str]
) -> None:
    for letter, name in (("A", "evaluation"), ("B", "selection"), ("C", "learning")):
        said = browser.open(
            page_of(runs[letter]),
            "pass@1", f"Loop {letter}, {name}", "answers failed", "Instrument", "final_int@1",
            shot=f"mlflow-{name}",
        )  # fmt: skip
        assert "prompt_template" in said


def test_a_demo_is_the_parent_of_its_loops(
    browser: Browser, runs: dict[str, RunRecord], page_of: Callable[..., str]
) -> None:
    browser.open(page_of(runs["demo"]), "best of 8", "after learning", shot="mlflow-demo")
    browser.open(page_of(runs["A"]), runs["demo"].name)


def test_the_completions_are_a_table_to_read(
    browser: Browser, runs: dict[str, RunRecord], page_of: Callable[..., str]
) -> None:
    inner = "/artifacts/completions_view.json"
    said = browser.open(
        page_of(runs["A"], inner), "prompt", "completion", "outcome", "expected",
        shot="mlflow-completions",
    )  # fmt: skip
    assert "bad_format" in said or "truncated" in said or "wrong_answer" in said


def test_the_report_opens_in_the_artifact_view(
    browser: Browser, runs: dict[str, RunRecord], page_of: Callable[..., str]
) -> None:
    """The frame is sandboxed and cannot be asked for its text; opened alone it is the same page."""
    browser.open(page_of(runs["C"], "/artifacts/report.html"), "report.html", "Path: file")
    time.sleep(2)  # what the frame shows cannot be asked for
    browser.keep("mlflow-report")
    for letter, words in (("A", "Problem by problem"), ("B", "picks"), ("C", "Step by step")):
        report = (runs[letter].folder / "report.html").as_uri()
        browser.open(report, "Why answers failed", "Every completion", words)


def test_a_version_has_a_card_and_its_run(
    browser: Browser, runs: dict[str, RunRecord], served: dict[str, str], demo: dict[str, Any]
) -> None:
    said = browser.open(
        f"{served['mlflow']}/#/models/threeloops/versions/1",
        "licence", "started from", "KL to the start", shot="mlflow-version",
    )  # fmt: skip
    assert runs["C"].name in said
    assert "candidate" in browser.open(f"{served['mlflow']}/#/models/threeloops", "candidate")


def test_the_flow_run_shows_its_tasks_and_its_mlflow_run(
    browser: Browser, runs: dict[str, RunRecord], served: dict[str, str]
) -> None:
    page = f"{served['prefect_page']}/runs/flow-run/{runs['C'].tags['flow_run']}"
    browser.open(page, "Completed", "loop C", shot="prefect-learning")
    browser.click("Task Runs", "train step 1", "generate step 2", shot="prefect-tasks")
    browser.click("Artifacts", "learning-summary", "mlflow-run", shot="prefect-artifacts")
