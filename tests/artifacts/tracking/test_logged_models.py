"""A policy is one logged model by its digest; the one that a run made comes before all others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.tracking.archive import Archive
from artifacts.tracking.logged_models import (
    VERSIONS,
    WITHOUT_FILES,
    discard_model,
    finish_model,
    known_model,
    model_folder,
    name_digest,
    name_version,
    use_model,
)
from artifacts.tracking.run import Place, TrackedRun, tracked_run
from schemas.config import LearningConfig
from schemas.loops import LEARNING
from schemas.references import PolicyRef
from tests.artifacts.measuring import policy_in


@pytest.fixture
def run(archive: Archive) -> Iterator[TrackedRun]:
    with tracked_run(archive, LEARNING, LearningConfig(), Place()) as made:
        yield made


def made_by(run: TrackedRun) -> PolicyRef:
    """A policy in the folder of the model that a run makes."""
    folder = model_folder(run.archive.tracking, run.reference)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_text("trained")
    return PolicyRef(name=run.name, digest=run.archive.folders.digest(folder))


def test_a_policy_from_elsewhere_is_known_once_and_stays_where_it_is(
    archive: Archive, run: TrackedRun, tmp_path: Path
) -> None:
    policy = policy_in(archive, tmp_path / "my.model")
    assert known_model(archive.tracking, policy.digest) is None
    first, again = use_model(run, policy), use_model(run, policy)
    assert first == again == known_model(archive.tracking, policy.digest)
    model = archive.tracking.client.get_logged_model(first)
    assert model.name == "my-model", "MLflow takes no full stop in a name"
    assert model.params == {"name": policy.name, "folder": str(tmp_path / "my.model")}
    assert model.tags[WITHOUT_FILES] == "true"
    inputs = archive.tracking.client.get_run(run.run_id).inputs
    assert inputs is not None
    (used,) = inputs.model_inputs
    assert used.model_id == first


def test_a_run_writes_into_one_folder_below_the_data_folder(
    archive: Archive, run: TrackedRun
) -> None:
    folder = model_folder(archive.tracking, run.reference)
    assert model_folder(archive.tracking, run.reference) == folder
    assert folder.is_relative_to(archive.data_dir.run_artifacts)


def test_the_model_that_a_run_made_comes_before_one_without_files(
    archive: Archive, run: TrackedRun, tmp_path: Path
) -> None:
    elsewhere = policy_in(archive, tmp_path / "copy", weights="trained")
    external = use_model(run, elsewhere)
    policy = made_by(run)
    assert policy.digest == elsewhere.digest
    assert known_model(archive.tracking, policy.digest) == external
    name_digest(run, policy)
    made = known_model(archive.tracking, policy.digest)
    assert made != external
    assert finish_model(run, step=4) == made


def test_a_finished_model_is_the_output_of_its_run_once(archive: Archive, run: TrackedRun) -> None:
    name_digest(run, made_by(run))
    ids = {finish_model(run, step=4) for _ in range(2)}
    outputs = archive.tracking.client.get_run(run.run_id).outputs
    assert outputs is not None
    (output,) = outputs.model_outputs
    assert ids == {output.model_id}
    assert output.step == 4
    assert str(archive.tracking.client.get_logged_model(output.model_id).status) == "READY"


def test_discarded_weights_are_deleted_and_the_model_is_marked(
    archive: Archive, run: TrackedRun
) -> None:
    discard_model(run)  # a run that stopped before its first weights has none
    folder = archive.folders.find(made_by(run))
    discard_model(run)
    assert not folder.exists()
    (model,) = archive.tracking.client.search_logged_models([archive.tracking.experiment_id])
    assert str(model.status) == "FAILED"


def test_a_model_shows_the_version_that_it_became(archive: Archive, run: TrackedRun) -> None:
    name_digest(run, made_by(run))
    made = finish_model(run, step=1)
    name_version(archive.tracking, made, "mine", "3")
    tags = archive.tracking.client.get_logged_model(made).tags
    assert json.loads(tags[VERSIONS]) == [{"name": "mine", "version": "3"}]
