"""What a person sees in a real browser, on the real servers, after a small demo.

It needs Chromium, headless, and is skipped where there is none. With THREELOOPS_SCREENSHOTS set to
a folder, each page is also kept there as a picture.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.sync.connection import Connection

from artifacts.tracking.history import RunRecord
from tasks.runtime.runtime import process_runtime
from tests.data_folder import find_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
Wait = Callable[..., Any]
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
# the text of a page with that of its frames of the same origin
TEXT = """(function text(w) {
  let all = w.document.body ? w.document.body.innerText : "";
  for (const f of w.document.querySelectorAll("iframe")) {
    try { all += "\\n" + text(f.contentWindow); } catch (error) {}
  }
  return all;
})"""


class Browser:
    """A page of headless Chromium, driven through its debugging protocol."""

    def __init__(self, socket: Connection, wait_for: Wait) -> None:
        self._socket, self._wait_for, self._calls = socket, wait_for, 0
        self.errors: list[str] = []
        self._call("Page.enable")
        self._call("Runtime.enable")

    def open(self, address: str, *expected: str, shot: str = "") -> str:
        """Go to an address, wait until its text holds all that is expected, and return the text."""
        for url in ("about:blank", address):  # else another fragment would load nothing anew
            self._call("Page.navigate", url=url)
        return self._see(address, expected, shot)

    def click(self, words: str, *expected: str, shot: str = "") -> str:
        """Click what has exactly these words, and wait as after `open`."""
        same = f"(one) => one.innerText && one.innerText.trim() === {json.dumps(words)}"
        self.run(f"[...document.querySelectorAll('body *')].filter({same}).at(-1).click()")
        return self._see(words, expected, shot)

    def _see(self, where: str, expected: tuple[str, ...], shot: str) -> str:
        said = ""

        def shows_all() -> bool:
            nonlocal said
            said = str(self.run(f"{TEXT}(window)") or "")
            return all(words in said for words in expected)

        try:
            self._wait_for(shows_all, f"{expected} on {where}", patience=60.0)
        except AssertionError:
            raise AssertionError(f"{expected} not all in {where}, which says: {said}") from None
        finally:
            self.keep(shot)
        return said

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer.get("result", {}).get("value")

    def keep(self, shot: str) -> None:
        """Save what is in sight as a picture, where pictures are wanted."""
        folder = os.environ.get("THREELOOPS_SCREENSHOTS")
        if folder and shot:
            image = self._call("Page.captureScreenshot", format="png")["data"]
            (Path(folder) / f"{shot}.png").write_bytes(base64.b64decode(image))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(answer["params"]["exceptionDetails"]))
            if answer.get("id") == self._calls:
                return dict(answer.get("result", {}))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, wait_for: Wait) -> Iterator[Browser]:
    """Chromium with one page."""
    folder = tmp_path_factory.mktemp("chromium")
    words = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1500,1000",
        f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    port_file = folder / "DevToolsActivePort"
    assert CHROMIUM is not None
    with subprocess.Popen([CHROMIUM, *words], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: port_file.exists() and port_file.read_text(), "Chromium")
            port = port_file.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
                (page,) = (one for one in json.load(answer) if one["type"] == "page")
            with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Browser(socket, wait_for)
        finally:
            process.terminate()


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
    prefect = served["prefect"].removesuffix("/api")
    page = f"{prefect}/runs/flow-run/{runs['C'].tags['flow_run']}"
    browser.open(page, "Completed", "loop C", shot="prefect-learning")
    browser.click("Task Runs", "train step 1", "generate step 2", shot="prefect-tasks")
    browser.click("Artifacts", "learning-summary", "mlflow-run", shot="prefect-artifacts")
