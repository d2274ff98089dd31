"""Deployments for Kubernetes on a real Prefect server, and the jobs that its worker would send.

There is no cluster here: what would be sent is compared with Kubernetes' own schemas.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from tests.faults.server import PrefectServer

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
POOL = "threeloops-kubernetes"
IMAGE = "registry.example.org/threeloops:1"
VERSIONS = ("1.30", "1.37")
# Prefect's worker wants them in the pod, where Kubernetes has no such fields and drops them
PREFECTS_OWN = {"completions", "parallelism"}


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
        ({"gpus": "many"}, "'many' is not of type 'integer'"),
        ({"gpus": 0}, "0 is less than the minimum of 1"),
        ({"gpu": 1}, "'gpu' was unexpected"),
        ({"image": ""}, "'' should be non-empty"),
        ({"tolerations": {"key": "gpu"}}, "is not of type 'array'"),
    ],
)
def test_a_server_refuses_other_job_variables(
    given: dict[str, Any], said: str, deployed: httpx.Client
) -> None:
    one = deployments(deployed)["kubernetes-best-of-n"]
    wrong = {"job_variables": one["job_variables"] | given}
    answer = deployed.patch(f"deployments/{one['id']}", json=wrong)
    assert answer.status_code == 409
    assert said in answer.text
    assert deployments(deployed)["kubernetes-best-of-n"]["job_variables"] == one["job_variables"]


def sent(client: httpx.Client, name: str, **more: Any) -> dict[str, Any]:
    """The job that Prefect's worker would send for a run of a deployment, with `more` variables."""
    worker = pytest.importorskip("prefect_kubernetes.worker", reason="install threeloops[engines]")
    from prefect.client.schemas.objects import FlowRun

    one = deployments(client)[name]
    pool = client.get(f"work_pools/{POOL}").raise_for_status().json()
    made = asyncio.run(
        worker.KubernetesWorkerJobConfiguration.from_template_and_values(
            pool["base_job_template"], one["job_variables"] | more
        )
    )
    run = FlowRun(id=uuid4(), name="quiet-otter", flow_id=uuid4(), deployment_id=one["id"])
    made.prepare_for_flow_run(run)
    # as it goes over the wire
    found: dict[str, Any] = json.loads(json.dumps(made.job_manifest))
    return found


def as_kubernetes_reads(job: Mapping[str, Any]) -> dict[str, Any]:
    """A job without the two fields that Kubernetes drops."""
    kept: dict[str, Any] = copy.deepcopy(dict(job))
    pod = kept["spec"]["template"]["spec"]
    for name in PREFECTS_OWN:
        assert pod.pop(name) == kept["spec"][name] == 1
    return kept


def container(job: Mapping[str, Any]) -> dict[str, Any]:
    (one,) = job["spec"]["template"]["spec"]["containers"]
    return dict(one)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "gpus": 8,
            "node_selector": {"gpu": "h200"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            "env": {"THREELOOPS_STORE": "s3://bucket/prefix"},
            "cpu": "500m",
        },
    ],
)
def test_every_job_is_one_of_kubernetes(
    version: str, more: dict[str, Any], deployed: httpx.Client
) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="install threeloops[engines]")
    for name in deployments(deployed):
        job = as_kubernetes_reads(sent(deployed, name, **more))
        assert validate.validate(job, version, strict=True) == version


def test_a_wrong_field_would_be_found(deployed: httpx.Client) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="install threeloops[engines]")
    job = as_kubernetes_reads(sent(deployed, "kubernetes-learn"))
    job["spec"]["template"]["spec"]["nodeSelektor"] = {}
    with pytest.raises(validate.ValidationError, match="nodeSelektor"):
        validate.validate(job, VERSIONS[-1], strict=True)


def test_a_job_asks_for_the_gpus_that_are_named_and_else_for_none(deployed: httpx.Client) -> None:
    with_gpu = container(sent(deployed, "kubernetes-learn"))
    assert with_gpu["resources"] == {
        "requests": {"cpu": "2", "memory": "32Gi"},
        "limits": {"memory": "32Gi", "nvidia.com/gpu": 1},
    }
    without = container(sent(deployed, "kubernetes-best-of-n"))
    assert without["resources"]["limits"] == {"memory": "8Gi"}
    more = container(sent(deployed, "kubernetes-best-of-n", gpus=4))
    assert more["resources"]["limits"]["nvidia.com/gpu"] == 4


def test_a_job_runs_our_image_as_nobody_in_particular(deployed: httpx.Client) -> None:
    job = sent(deployed, "kubernetes-learn", env={"THREELOOPS_STORE": "s3://bucket/prefix"})
    one = container(job)
    assert one["image"] == IMAGE
    assert one["args"] == ["prefect", "flow-run", "execute"]
    named = {variable["name"]: variable["value"] for variable in one["env"]}
    assert named["THREELOOPS_STORE"] == "s3://bucket/prefix"
    assert named["OMP_NUM_THREADS"] == "2", "what is added takes nothing away"
    assert one["envFrom"] == [{"secretRef": {"name": "threeloops", "optional": True}}]
    assert one["volumeMounts"][0]["mountPath"] == "/var/lib/threeloops"
    assert one["securityContext"]["allowPrivilegeEscalation"] is False
    pod = job["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert job["spec"]["backoffLimit"] == 0, "what is done again is Prefect's matter"


def test_the_worker_is_one_of_kubernetes() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="install threeloops[engines]")
    parts = list(yaml.safe_load_all((FOLDER / "worker.yaml").read_text()))
    assert [one["kind"] for one in parts] == ["ServiceAccount", "Role", "RoleBinding", "Deployment"]
    for one in parts:
        for version in VERSIONS:
            assert validate.validate(one, version, strict=True) == version
    assert POOL in parts[-1]["spec"]["template"]["spec"]["containers"][0]["command"]
