"""`threeloops up` on real servers: a deployment runs; a new version is measured by itself."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.states import Running

from artifacts.promotion.decisions import all_decisions
from artifacts.tracking.history import RunRecord
from flows.orchestration.up_file import Served
from flows.services.deployments import PULL_STEPS
from flows.services.events import close_lost_runs
from schemas.config import EvalConfig
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs, find_run
from tests.running_up import processes, signed_in

PAGE = Path(__file__).parents[4] / "docs" / "scheduled.md"
Wait = Callable[[Callable[[], Any], str], Any]
REQUESTS = re.findall(r"^prefect deployment run .*$", PAGE.read_text(), re.MULTILINE)


def test_deployments_learn_register_evaluate_by_event_and_decide(
    served: dict[str, str], environment: dict[str, str], tiny: str, wait_for: Wait
) -> None:
    config = {"model": tiny, "limit": 4, "samples": 1, "sampling": {"max_new_tokens": 4}}
    deploy(environment, "eval/nightly", {"config": config})

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
    deploy(environment, "learning/weekly", {"config": learning, "promote": True})
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
    up = Served.model_validate(served)
    with SyncPrefectClient(up.prefect, httpx_settings={"headers": up.headers}) as client:
        deployment = client.read_deployment_by_name("learning/learn")
        config = {"model": tiny, "limit": 4, "steps": 1}
        lost = client.create_flow_run_from_deployment(
            deployment.id, parameters={"config": config}, state=Running()
        )
        assert close_lost_runs(up, "threeloops") == 1
        assert client.read_flow_run(lost.id).state_type == StateType.CRASHED
    assert close_lost_runs(up, "threeloops") == 0


def deploy(environment: dict[str, str], name: str, parameters: dict[str, Any]) -> None:
    """Ask for a run of a deployment."""
    asked = prefect(environment, "deployment", "run", name, "--params", json.dumps(parameters))
    assert asked.returncode == 0, asked.stdout


def prefect(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Prefect's own command line on the running server; its two streams as one."""
    return subprocess.run(
        ["prefect", *words],
        env=environment | {"PREFECT_PROFILES_PATH": f"{environment['THREELOOPS_HOME']}/up.toml"},
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
    answer = httpx.get(queue, headers=Served.model_validate(served).headers)
    assert answer.json()["concurrency_limit"] == 1


@pytest.mark.parametrize("command", REQUESTS)
def test_a_documented_request_is_accepted(
    served: dict[str, str], environment: dict[str, str], command: str
) -> None:
    later = ["--start-in", "10 hours"]  # what they do is tested above
    done = prefect(environment, *shlex.split(command)[1:], *later)
    assert done.returncode == 0, done.stdout


def test_wrong_parameters_are_refused_before_a_run_exists(
    served: dict[str, str], environment: dict[str, str]
) -> None:
    wrong = json.dumps({"config": {"samples": "many"}})
    done = prefect(environment, "deployment", "run", "eval/nightly", "--params", wrong)
    print(done.stdout)
    assert done.returncode == 1
    assert "'many' is not of type 'integer'" in " ".join(done.stdout.split())


def test_a_server_that_dies_is_started_again(
    served: dict[str, str], environment: dict[str, str], wait_for: Wait
) -> None:
    log = Path(environment["THREELOOPS_HOME"]) / "up.log"
    home = environment["THREELOOPS_HOME"]
    servers = [one for one in processes(home) if {"mlflow", "server"} <= set(names(one))]
    assert servers
    for process in servers:
        process.kill()
    wait_for(lambda: "mlflow ended with code" in log.read_text(), "the line that says so")

    with signed_in(served, "MLflow") as page:
        wait_for(lambda: page.get("/version").status_code == 200, "MLflow's page again")


def names(process: psutil.Process) -> list[str]:
    """The words of its command, of paths the last part."""
    return [Path(word).name for word in process.cmdline()]


def test_a_second_up_prints_new_links_to_the_first(
    served: dict[str, str], environment: dict[str, str]
) -> None:
    words = [sys.executable, "-m", "flows.cli", "up", "--json"]
    done = subprocess.run(words, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["stopped"] is False
    assert said["links"]["MLflow"] in done.stderr
    assert said["links"]["MLflow"].startswith(f"{served['mlflow']}/")
    with signed_in(served, "MLflow") as page:
        assert "MLflow" in page.get("/").text


def test_a_run_and_its_pages_link_to_each_other(
    served: dict[str, str], environment: dict[str, str], tiny: str
) -> None:
    words = ["eval", "--limit", "2", "--samples", "1", "--model", tiny, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        env=environment, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = find_run(json.loads(done.stdout.splitlines()[-1])["run_id"])
    assert run.tags["flow_run_page"].startswith(f"{served['prefect_page']}/")
    with signed_in(served, "Prefect") as page:
        body = {"artifacts": {"key": {"any_": ["mlflow-run"]}}}
        links = [one["data"] for one in page.post("/api/artifacts/filter", json=body).json()]
    assert any(f"({served['mlflow']}/#/" in link and run.run_id in link for link in links), links


@pytest.mark.parametrize(
    "entrypoint", ["flows/eval.py:eval_flow", "flows/preflight.py:check_model"]
)
def test_a_deployment_with_code_of_its_own_is_not_run(
    served: dict[str, str], tmp_path: Path, wait_for: Wait, entrypoint: str
) -> None:
    """Whoever may use the API, such as a page that was taken over, still gets no shell."""
    mark = tmp_path / "mark"
    script = "prefect.deployments.steps.run_shell_script"
    steps = PULL_STEPS if "preflight" in entrypoint else [{script: {"script": f"touch {mark}"}}]
    up = Served.model_validate(served)
    with SyncPrefectClient(up.prefect, httpx_settings={"headers": up.headers}) as client:
        deployment = client.create_deployment(
            client.create_flow_from_name("other"), tmp_path.name, entrypoint=entrypoint,
            pull_steps=steps, work_pool_name="threeloops",
        )  # fmt: skip
        run = client.create_flow_run_from_deployment(deployment)

        def state() -> Any:
            found = client.read_flow_run(run.id).state
            return found if found and found.is_final() else None

        ended = wait_for(state, "the end of the flow run")
    assert ended.type == StateType.CRASHED
    assert "is not run: its" in ended.message
    assert "`threeloops up` runs its own flows alone" in ended.message
    assert not mark.exists()
