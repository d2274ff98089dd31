"""`threeloops up` on real servers: a deployment runs; a new version is measured by itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from artifacts.decisions import all_decisions
from artifacts.tracking import RunRecord, all_runs, find_run

BIN = Path(sys.executable).parent
PATIENCE = 240.0
PAGE = Path(__file__).parents[2] / "docs" / "scheduled.md"
REQUESTS = re.findall(r"^prefect deployment run .*$", PAGE.read_text(), re.MULTILINE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(found: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(1.0)
    raise AssertionError(f"waited {PATIENCE:.0f} s for {what}")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    root = tmp_path_factory.mktemp("up") / "home"
    return kept | {"THREELOOPS_HOME": str(root), "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def running(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """A running `threeloops up` for all tests here; the addresses of its servers."""
    root = Path(environment["THREELOOPS_HOME"])
    root.mkdir()
    ports = {"--prefect-port": str(free_port()), "--mlflow-port": str(free_port())}
    words = [word for pair in ports.items() for word in pair]
    log = (root / "up.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "up", *words], env=environment, stdout=log, stderr=log
    )
    record = root / "up.json"

    def ready() -> bool:
        assert process.poll() is None, (root / "up.log").read_text()
        return record.exists()

    try:
        wait_for(ready, "the servers")
        yield json.loads(record.read_text())
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        finally:
            process.kill()
            log.close()
    assert process.returncode == 0
    assert not record.exists(), "nobody is sent to servers that have gone"


@pytest.fixture
def served(
    running: dict[str, str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The addresses of the running servers, with their home folder as this test's."""
    monkeypatch.setenv("THREELOOPS_HOME", environment["THREELOOPS_HOME"])
    return running


def test_deployments_learn_register_evaluate_by_event_and_decide(
    served: dict[str, str], environment: dict[str, str], tiny: str
) -> None:
    with urllib.request.urlopen(served["mlflow"], timeout=10) as page:
        assert b"MLflow" in page.read()
    config = {"model": tiny, "limit": 4, "samples": 1, "sampling": {"max_new_tokens": 4}}
    deploy(environment, served, "eval/nightly", {"config": config})

    def finished(model: str) -> list[RunRecord]:
        return [
            run
            for run in all_runs()
            if run.loop.letter == "A"
            and run.status == "FINISHED"
            and run.tags.get("model") == model
        ]

    (nightly,) = wait_for(lambda: finished(tiny), "the deployment's run")
    assert nightly.metrics["completions"] == 4
    learning = config | {"steps": 1, "problems_per_step": 2, "samples": 2, "dev_every": 0}
    deploy(environment, served, "learning/weekly", {"config": learning, "promote": True})
    version = "models:/threeloops/1"
    (triggered,) = wait_for(lambda: finished(version), "the triggered run")
    (decision,) = wait_for(all_decisions, "the gate's decision")
    assert (decision.candidate, decision.decision) == (version, "refused")
    assert find_run(triggered.run_id).config()["samples"] == 4
    said = Path(environment["THREELOOPS_HOME"]) / "up.log"
    wait_for(lambda: f"registered {version}" in said.read_text(), "the line of the version")
    evaluated = r"flow run eval .*: completed"
    wait_for(lambda: re.search(evaluated, said.read_text()), "the line of the flow run")


def deploy(
    environment: dict[str, str], served: dict[str, str], name: str, parameters: dict[str, Any]
) -> None:
    """Ask for a run of a deployment."""
    asked = prefect(
        environment, served, "deployment", "run", name, "--params", json.dumps(parameters)
    )
    assert asked.returncode == 0, asked.stdout


def prefect(
    environment: dict[str, str], served: dict[str, str], *words: str
) -> subprocess.CompletedProcess[str]:
    """Prefect's own command line on the running server; its two streams as one."""
    return subprocess.run(
        ["prefect", *words],
        env=environment | {"PREFECT_API_URL": served["prefect"]},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_run_from_another_terminal_uses_the_servers_and_learners_queue_up(
    served: dict[str, str], environment: dict[str, str], tiny: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "eval", "--limit", "2", "--model", tiny],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert served["prefect"] in done.stderr
    queue = f"{served['prefect']}/work_pools/threeloops/queues/learners"
    with urllib.request.urlopen(queue, timeout=10) as answer:
        assert json.load(answer)["concurrency_limit"] == 1


@pytest.mark.parametrize("command", REQUESTS)
def test_a_documented_request_is_accepted(
    served: dict[str, str], environment: dict[str, str], command: str
) -> None:
    later = ["--start-in", "10 hours"]  # what they do is tested above
    done = prefect(environment, served, *shlex.split(command)[1:], *later)
    assert done.returncode == 0, done.stdout


def test_wrong_parameters_are_refused_before_a_run_exists(
    served: dict[str, str], environment: dict[str, str]
) -> None:
    wrong = json.dumps({"config": {"samples": "many"}})
    done = prefect(environment, served, "deployment", "run", "eval/nightly", "--params", wrong)
    print(done.stdout)
    assert done.returncode == 1
    assert "'many' is not of type 'integer'" in " ".join(done.stdout.split())


def test_a_server_that_dies_is_started_again(
    served: dict[str, str], environment: dict[str, str]
) -> None:
    log = Path(environment["THREELOOPS_HOME"]) / "up.log"
    port = int(served["mlflow"].rpartition(":")[2])
    servers = [
        process
        for process in psutil.process_iter(["cmdline"])
        if {"mlflow", "--port", str(port)} <= {Path(w).name for w in process.info["cmdline"] or ()}
    ]
    assert servers
    for process in servers:
        process.kill()
    wait_for(lambda: "mlflow ended with code" in log.read_text(), "the line that says so")

    def answers() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(served["mlflow"], timeout=5):
            return True
        return False

    wait_for(answers, "MLflow's page again")
