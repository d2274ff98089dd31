"""Policies as MLflow's logged models, so that metrics belong to a model and not only to a run.

A policy is known by its digest. Weights that a learning run makes are written into its logged
model's own folder; those of any other policy stay where they are.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from artifacts.store.data_dir import DataDir, current_data_dir
from artifacts.tracking.connection import TAG, client_for, experiment_id
from artifacts.tracking.run import TrackedRun
from schemas.references import PolicyRef

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

DIGEST = f"{TAG}digest"
EXTERNAL = "mlflow.model.isExternal"  # its files are not among MLflow's artifacts
VERSIONS = "mlflow.modelVersions"
KIND = "policy"


def use_model(run: TrackedRun, policy: PolicyRef) -> str:
    """Say that a run measured a policy or started from it; returns its logged model's id.

    A policy that MLflow does not know yet becomes a logged model without files.
    """
    from mlflow.entities import LoggedModelInput

    model_id = known_model(run.data_dir, policy.digest) or _external(run.data_dir, policy)
    client = client_for(run.data_dir)
    inputs = client.get_run(run.run_id).inputs
    if inputs is None or model_id not in {used.model_id for used in inputs.model_inputs}:
        client.log_inputs(run.run_id, models=[LoggedModelInput(model_id)])
    return model_id


def known_model(data_dir: DataDir, digest: str) -> str | None:
    """The id of the logged model with this digest, the one that a run made before all others."""
    found = _search(data_dir, f"tags.`{DIGEST}` = '{digest}'")
    found.sort(key=lambda model: EXTERNAL in model.tags)
    return str(found[0].model_id) if found else None


def model_folder(run: TrackedRun) -> Path:
    """Where a learning run writes its weights: the folder of the logged model that it makes."""
    made = _made_by(run)
    if made is None:
        made = client_for(run.data_dir).create_logged_model(
            experiment_id(run.data_dir), run.name, run.run_id, model_type=KIND
        )
    return _folder(made)


def name_digest(run: TrackedRun, policy: PolicyRef) -> None:
    """The policy in `model_folder` has this digest: what measures it measures that model."""
    made = _made_by(run)
    assert made is not None  # its folder was asked for
    client_for(run.data_dir).set_logged_model_tags(made.model_id, {DIGEST: policy.digest})


def finish_model(run: TrackedRun, *, step: int) -> str:
    """What lies in `model_folder` is what the run was for; returns its logged model's id."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client, made = client_for(run.data_dir), _made_by(run)
    assert made is not None
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    outputs = client.get_run(run.run_id).outputs
    if outputs is None or made.model_id not in {one.model_id for one in outputs.model_outputs}:
        client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, step)])
    return str(made.model_id)


def discard_model(run: TrackedRun) -> None:
    """Delete the weights that a run has written and that no version may come of."""
    from mlflow.entities import LoggedModelStatus

    made = _made_by(run)
    if made is not None:
        shutil.rmtree(_folder(made), ignore_errors=True)
        client_for(run.data_dir).finalize_logged_model(made.model_id, LoggedModelStatus.FAILED)


def name_version(model_id: str, name: str, version: str) -> None:
    """Let a logged model, and the run that made it, show the version that it was registered as."""
    value = json.dumps([{"name": name, "version": version}])
    client_for(current_data_dir()).set_logged_model_tags(model_id, {VERSIONS: value})


def _made_by(run: TrackedRun) -> LoggedModel | None:
    found = _search(run.data_dir, f"source_run_id = '{run.run_id}'")
    return next((model for model in found if EXTERNAL not in model.tags), None)


def _external(data_dir: DataDir, policy: PolicyRef) -> str:
    from mlflow.entities import LoggedModelStatus

    name = re.sub(r"[/:.%\"']+", "-", Path(policy.name).name) or "policy"
    client = client_for(data_dir)
    made = client.create_logged_model(
        experiment_id(data_dir),
        name,
        tags={DIGEST: policy.digest, EXTERNAL: "true"},
        params={"name": policy.name, "folder": policy.folder},
        model_type=KIND,
    )
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return str(made.model_id)


def _search(data_dir: DataDir, condition: str) -> list[LoggedModel]:
    return list(client_for(data_dir).search_logged_models([experiment_id(data_dir)], condition))


def _folder(model: LoggedModel) -> Path:
    return Path(unquote(urlparse(model.artifact_location).path))
