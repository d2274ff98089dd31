"""The jobs that Prefect's worker would send to Kubernetes, against Kubernetes' own schemas."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

pytestmark = pytest.mark.engines

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
TEMPLATE = json.loads((FOLDER / "base-job-template.json").read_text())
DEPLOYMENTS = yaml.safe_load((FOLDER / "prefect.yaml").read_text())["deployments"]
NAMES = [one["name"] for one in DEPLOYMENTS]
POOL = "threeloops-kubernetes"
IMAGE = "registry.example.org/threeloops:1"
VERSIONS = ("1.30", "1.37")
# Prefect's worker wants them in the pod, where Kubernetes has no such fields and drops them
PREFECTS_OWN = {"completions", "parallelism"}


def variables(name: str) -> dict[str, Any]:
    """What a deployment asks of its pod, with an image."""
    (found,) = (one for one in DEPLOYMENTS if one["name"] == name)
    assert found["work_pool"]["name"] == POOL
    asked: dict[str, Any] = found["work_pool"]["job_variables"] | {"image": IMAGE}
    return asked


def prepared(name: str, **more: Any) -> Any:
    """What Prefect's worker makes of a deployment for a run, with `more` variables."""
    worker = pytest.importorskip("prefect_kubernetes.worker", reason="install threeloops[engines]")
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

    made = asyncio.run(
        worker.KubernetesWorkerJobConfiguration.from_template_and_values(
            copy.deepcopy(TEMPLATE),
            variables(name) | more,
            client=PrefectClient(api="http://127.0.0.1:9/api"),  # is not asked
        )
    )
    ids: dict[str, Any] = {"id": uuid4(), "flow_id": uuid4(), "deployment_id": uuid4()}
    made.prepare_for_flow_run(FlowRun(name="quiet-otter", **ids))
    return made


def sent(name: str, **more: Any) -> dict[str, Any]:
    """The job that Prefect's worker would send for a run, as it goes over the wire."""
    found: dict[str, Any] = json.loads(json.dumps(prepared(name, **more).job_manifest))
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
def test_every_job_is_one_of_kubernetes(version: str, more: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="install threeloops[engines]")
    for name in NAMES:
        job = as_kubernetes_reads(sent(name, **more))
        assert validate.validate(job, version, strict=True) == version


def test_kubernetes_knows_every_field_but_two_of_prefects() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="install threeloops[engines]")
    with pytest.raises(validate.ValidationError) as refused:
        validate.validate(sent("kubernetes-learn"), VERSIONS[-1], strict=True)
    said = "Additional properties are not allowed ('completions', 'parallelism' were unexpected)"
    assert refused.value.message == said


def test_a_wrong_field_would_be_found() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="install threeloops[engines]")
    job = as_kubernetes_reads(sent("kubernetes-learn"))
    job["spec"]["template"]["spec"]["nodeSelektor"] = {}
    with pytest.raises(validate.ValidationError, match="nodeSelektor"):
        validate.validate(job, VERSIONS[-1], strict=True)


def test_a_job_asks_for_the_gpus_that_are_named_and_else_for_none() -> None:
    with_gpu = container(sent("kubernetes-learn"))
    assert with_gpu["resources"] == {
        "requests": {"cpu": "2", "memory": "32Gi"},
        "limits": {"memory": "32Gi", "nvidia.com/gpu": 1},
    }
    without = container(sent("kubernetes-best-of-n"))
    assert without["resources"]["limits"] == {"memory": "8Gi"}
    more = container(sent("kubernetes-best-of-n", gpus=4))
    assert more["resources"]["limits"]["nvidia.com/gpu"] == 4


def test_a_job_runs_our_image_as_nobody_in_particular() -> None:
    job = sent("kubernetes-learn", env={"THREELOOPS_STORE": "s3://bucket/prefix"})
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
