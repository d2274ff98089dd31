"""Policies as MLflow's logged models, so that metrics belong to a model and not only to a run.

A policy is known by its digest. Weights that a learning run makes are written into its logged
model's own folder; those of any other policy stay where they are. Where MLflow keeps its files
elsewhere, they are written into the data folder and given to it when they are whole.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import TAG, Tracking
from artifacts.tracking.experiment import local_path
from artifacts.tracking.run import TrackedRun
from artifacts.unsent.refusals import in_one_line
from schemas.references import PolicyRef, RunRef

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

DIGEST = f"{TAG}digest"
WITHOUT_FILES = "mlflow.model.isExternal"  # its files are not among MLflow's artifacts
VERSIONS = "mlflow.modelVersions"
KIND = "policy"


def use_model(run: TrackedRun, policy: PolicyRef) -> str:
    """Say that a run measured a policy or started from it; returns its logged model's id.

    A policy that MLflow does not know yet becomes a logged model without files.
    """
    from mlflow.entities import LoggedModelInput

    model_id = known_model(run.archive.tracking, policy.digest) or _external(run.archive, policy)
    client = run.archive.tracking.client
    inputs = client.get_run(run.run_id).inputs
    if inputs is None or model_id not in {used.model_id for used in inputs.model_inputs}:
        client.log_inputs(run.run_id, models=[LoggedModelInput(model_id)])
    return model_id


def known_model(tracking: Tracking, digest: str) -> str | None:
    """The id of the logged model with this digest, the one that a run made before all others."""
    found = _search(tracking, f"tags.`{DIGEST}` = '{digest}'")
    found = [model for model in found if model.tags.get(DIGEST) == digest]
    found.sort(key=lambda model: WITHOUT_FILES in model.tags)
    return str(found[0].model_id) if found else None


def model_folder(tracking: Tracking, run: RunRef) -> Path:
    """Where a learning run writes its weights: the folder of the logged model that it makes."""
    made = _made_by(tracking, run.run_id)
    if made is None:
        made = tracking.client.create_logged_model(
            tracking.experiment_id, run.name, run.run_id, model_type=KIND
        )
    return _folder(tracking, made)


def hand_over_model(tracking: Tracking, run: RunRef) -> str:
    """Give MLflow what lies in `model_folder`, if it keeps it elsewhere; returns its address."""
    made = _made_by(tracking, run.run_id)
    assert made is not None  # its folder was asked for
    uri, folder = str(made.artifact_location), _folder(tracking, made)
    if tracking.holds(uri):
        return folder.as_uri()
    with in_one_line(f"model {made.name} of run {run.name}", "MLflow does not keep its files"):
        tracking.client.log_model_artifacts(made.model_id, str(folder))
    return uri


def models_cache(tracking: Tracking) -> Path:
    """Where logged models, which MLflow keeps elsewhere, are written before it gets them."""
    return tracking.data_dir.mlflow_cache / "models"


def name_digest(run: TrackedRun, policy: PolicyRef) -> None:
    """The policy in `model_folder` has this digest: what measures it measures that model."""
    made = _made_by(run.archive.tracking, run.run_id)
    assert made is not None  # its folder was asked for
    run.archive.tracking.client.set_logged_model_tags(made.model_id, {DIGEST: policy.digest})


def finish_model(run: TrackedRun, *, step: int) -> str:
    """What lies in `model_folder` is what the run was for; returns its logged model's id."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    client, made = run.archive.tracking.client, _made_by(run.archive.tracking, run.run_id)
    assert made is not None
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    outputs = client.get_run(run.run_id).outputs
    if outputs is None or made.model_id not in {one.model_id for one in outputs.model_outputs}:
        client.log_outputs(run.run_id, [LoggedModelOutput(made.model_id, step)])
    return str(made.model_id)


def discard_model(run: TrackedRun) -> None:
    """Delete the weights that a run has written and that no version may come of."""
    from mlflow.entities import LoggedModelStatus

    made = _made_by(run.archive.tracking, run.run_id)
    if made is not None:
        shutil.rmtree(_folder(run.archive.tracking, made), ignore_errors=True)
        run.archive.tracking.client.finalize_logged_model(made.model_id, LoggedModelStatus.FAILED)


def name_version(tracking: Tracking, model_id: str, name: str, version: str) -> None:
    """Let a logged model, and the run that made it, show the version that it was registered as."""
    value = json.dumps([{"name": name, "version": version}])
    tracking.client.set_logged_model_tags(model_id, {VERSIONS: value})


def _made_by(tracking: Tracking, run_id: str) -> LoggedModel | None:
    found = _search(tracking, f"source_run_id = '{run_id}'")
    made = [model for model in found if model.source_run_id == run_id]
    return next((model for model in made if WITHOUT_FILES not in model.tags), None)


def _external(archive: Archive, policy: PolicyRef) -> str:
    from mlflow.entities import LoggedModelStatus

    name = re.sub(r"[/:.%\"']+", "-", Path(policy.name).name) or "policy"
    client = archive.tracking.client
    made = client.create_logged_model(
        archive.tracking.experiment_id,
        name,
        tags={DIGEST: policy.digest, WITHOUT_FILES: "true"},
        params={"name": policy.name, **_where(archive, policy)},
        model_type=KIND,
    )
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    return str(made.model_id)


def _where(archive: Archive, policy: PolicyRef) -> dict[str, str]:
    if policy.engine is not None:
        return {"engine": policy.engine.words}
    return {"folder": str(archive.folders.find(policy))}


def _search(tracking: Tracking, condition: str) -> list[LoggedModel]:
    return list(tracking.client.search_logged_models([tracking.experiment_id], condition))


def _folder(tracking: Tracking, model: LoggedModel) -> Path:
    if tracking.holds(uri := str(model.artifact_location)):
        return local_path(uri)
    return models_cache(tracking) / str(model.model_id)
