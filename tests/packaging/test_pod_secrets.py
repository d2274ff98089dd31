"""Keys and passwords on Kubernetes come from a Secret: in the worker, and in the jobs it sends."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from artifacts.text.secrets import names_secret

ROOT = Path(__file__).parents[2]
*_, DEPLOYMENT = yaml.safe_load_all((ROOT / "deploy/kubernetes/worker.yaml").read_text())
(WORKER,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
GIVEN = {one["name"]: one for one in WORKER["env"]}
SETTING = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_"  # names of a Secret, which are no secret
KEYS = ("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")


@pytest.mark.parametrize("name", KEYS)
def test_the_worker_has_its_keys_from_the_secret_where_they_are_in_it(name: str) -> None:
    wanted = {"name": "threeloops", "key": name, "optional": True}
    assert GIVEN[name] == {"name": name, "valueFrom": {"secretKeyRef": wanted}}


def test_no_secret_of_the_worker_is_text_and_none_is_there_that_it_does_not_need() -> None:
    text = [name for name, one in GIVEN.items() if "value" in one and not name.startswith(SETTING)]
    assert [name for name in text if names_secret(name)] == []
    assert "envFrom" not in WORKER, "the keys of a bucket are those of runs"


@pytest.mark.engines
def test_a_job_refers_to_the_secret_and_has_no_key_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("prefect_kubernetes.worker", reason="install threeloops[engines]")
    from prefect.settings.context import temporary_settings

    from tests.packaging.test_pods import container, prepared

    for name, one in GIVEN.items():
        if name.startswith(SETTING):
            monkeypatch.setenv(name, one["value"])
    sent: list[dict[str, Any]] = []

    class Batch:
        def __init__(self, client: object) -> None:
            pass

        async def create_namespaced_job(self, namespace: str, job: dict[str, Any]) -> object:
            sent.append(json.loads(json.dumps(job)))
            return SimpleNamespace()

    monkeypatch.setattr(module, "BatchV1Api", Batch)
    canaries = {name: f"canary-of-{name.lower()}" for name in KEYS}
    with temporary_settings(canaries):
        job = prepared("kubernetes-best-of-n")
    assert all(one in json.dumps(job.job_manifest) for one in canaries.values()), "as text so far"
    worker = SimpleNamespace(_logger=logging.getLogger("test"))
    for name in ("_replace_api_key_with_secret", "_replace_env_variable_with_secret"):
        setattr(worker, name, getattr(module.KubernetesWorker, name).__get__(worker))
    asyncio.run(module.KubernetesWorker._create_job(worker, job, object()))
    (found,) = sent
    assert "canary" not in json.dumps(found)
    for name in KEYS:
        (one,) = [one for one in container(found)["env"] if one["name"] == name]
        assert one["valueFrom"] == {"secretKeyRef": {"name": "threeloops", "key": name}}
