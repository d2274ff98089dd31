"""Deployments for Kubernetes on a real Prefect server, which checks what they ask of a pod."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.faults.server import PrefectServer

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
POOL = "threeloops-kubernetes"
IMAGE = "registry.example.org/threeloops:1"


@pytest.fixture(scope="module")
def deployed(prefect: PrefectServer) -> Iterator[httpx.Client]:
    """A client of a server to which docs/kubernetes.md was applied."""
    environment = {**os.environ, **prefect.environment, "THREELOOPS_IMAGE": IMAGE}
    template = str(FOLDER / "base-job-template.json")
    for words in (
        ["work-pool", "create", POOL, "--type", "kubernetes", "--base-job-template", template],
        ["--no-prompt", "deploy", "--all", "--prefect-file", str(FOLDER / "prefect.yaml")],
    ):
        done = subprocess.run(
            ["prefect", *words],
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with httpx.Client(base_url=prefect.url, timeout=60, trust_env=False) as client:
        yield client


def deployments(client: httpx.Client) -> dict[str, dict[str, Any]]:
    found = client.post("deployments/filter", json={}).raise_for_status().json()
    return {one["name"]: one for one in found if one["work_pool_name"] == POOL}


def test_a_server_takes_every_deployment(deployed: httpx.Client) -> None:
    found = deployments(deployed)
    described = yaml.safe_load((FOLDER / "prefect.yaml").read_text())["deployments"]
    assert {name: one["entrypoint"] for name, one in found.items()} == {
        one["name"]: one["entrypoint"] for one in described
    }
    assert {one["job_variables"]["image"] for one in found.values()} == {IMAGE}
    assert {name: one["job_variables"].get("gpus") for name, one in found.items()} == {
        "kubernetes-nightly": 1,
        "kubernetes-best-of-n": None,
        "kubernetes-learn": 1,
    }
    step = {"prefect.deployments.steps.set_working_directory": {"directory": "/opt/threeloops"}}
    assert all(one["pull_steps"] == [step] for one in found.values())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpus": "many"}, "'many' is not valid under any of the given schemas"),
        ({"gpus": 0}, "0 is less than the minimum of 1"),
        ({"gpu": 1}, "'gpu' was unexpected"),
        ({"image": ""}, "'' should be non-empty"),
        (
            {"tolerations": {"key": "gpu"}},
            "'tolerations'",
        ),
    ],
)
def test_a_server_starts_no_run_with_other_job_variables(
    given: dict[str, Any], said: str, deployed: httpx.Client
) -> None:
    answer = asked(deployed, given)
    assert answer.status_code == 422
    assert said in answer.text


def test_a_run_may_ask_for_gpus(deployed: httpx.Client) -> None:
    run = asked(deployed, {"gpus": 4}).raise_for_status().json()
    assert run["job_variables"] == {"gpus": 4}


def asked(client: httpx.Client, given: dict[str, Any]) -> httpx.Response:
    """What the server says to a run with these job variables."""
    one = deployments(client)["kubernetes-best-of-n"]
    return client.post(f"deployments/{one['id']}/create_flow_run", json={"job_variables": given})
