"""`threeloops up` on real servers: a deployment runs; a new version is measured by itself."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Running

from artifacts.promotion.decisions import all_decisions
from artifacts.tracking.history import RunRecord
from flows.services.events import close_lost_runs
from schemas.config import EvalConfig
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs, find_run

PAGE = Path(__file__).parents[3] / "docs" / "scheduled.md"
Wait = Callable[[Callable[[], Any], str], Any]
REQUESTS = re.findall(r"^prefect deployment run .*$", PAGE.read_text(), re.MULTILINE)


def test_deployments_learn_register_evaluate_by_event_and_decide(
    served: dict[str, str], environment: dict[str, str], tiny: str, wait_for: Wait
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
    (decision,) = wait_for(
        lambda: all_decisions(process_runtime().archive.history), "the gate's decision"
    )
    assert (decision.candidate, decision.decision) == (version, "refused")
    assert find_run(triggered.run_id).config(EvalConfig).samples == 4
    said = Path(environment["THREELOOPS_HOME"]) / "up.log"
    wait_for(lambda: f"registered {version}" in said.read_text(), "the line of the version")
    evaluated = r"flow run eval .*: completed"
    wait_for(lambda: re.search(evaluated, said.read_text()), "the line of the flow run")


def test_a_run_that_was_lost_with_its_worker_no_longer_holds_its_place(
    served: dict[str, str], tiny: str
) -> None:
    with SyncPrefectClient(served["prefect"]) as client:
        deployment = client.read_deployment_by_name("learning/learn")
        config = {"model": tiny, "limit": 4, "steps": 1}
        lost = client.create_flow_run_from_deployment(
            deployment.id, parameters={"config": config}, state=Running()
        )
        assert close_lost_runs(served["prefect"], "threeloops") == 1
        assert client.read_flow_run(lost.id).state_type == StateType.CRASHED
    assert close_lost_runs(served["prefect"], "threeloops") == 0


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
    served: dict[str, str], environment: dict[str, str], wait_for: Wait
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
