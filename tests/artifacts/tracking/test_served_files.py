"""An MLflow server that keeps the files itself: runs, decisions and versions go through it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from artifacts.registry.integrity import intact_folder
from artifacts.registry.versions import register_version, registered_version
from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.files import ServedFiles
from artifacts.tracking.logged_models import (
    finish_model,
    hand_over_model,
    model_folder,
    name_digest,
)
from artifacts.tracking.named import EXPERIMENT_NAME, SERVER, TRACKING
from artifacts.tracking.run import Place, TrackedRun, tracked_run
from artifacts.unsent.journal import unsent_files
from policy.model.tiny import make_tiny_model
from schemas.config import EvalConfig, LearningConfig
from schemas.errors import InputError
from schemas.loops import EVALUATION, LEARNING
from schemas.references import PolicyRef
from tests.mlflow_server import PASS, REFUSE, Between, MlflowServer

CONFIG = EvalConfig(samples=2)
NAME = "models:/served/1"
Open = Callable[[], Archive]


@pytest.fixture
def served(way: Between, monkeypatch: pytest.MonkeyPatch) -> Between:
    """The server by MLflow's own variable: it decides where its files are."""
    monkeypatch.delenv(SERVER)
    monkeypatch.setenv(TRACKING, way.uri)
    return way


@pytest.fixture
def elsewhere(served: Between, tmp_path: Path) -> Archive:
    """Another data folder, which shares nothing with the test's but the server."""
    return Archive(DataDir(tmp_path / "elsewhere"))


def work(archive: Archive) -> TrackedRun:
    """A run with a file that names it, and one in a folder."""
    with tracked_run(archive, EVALUATION, CONFIG, Place()) as run:
        run.text("notes/run.json", json.dumps({"run": run.run_id}))
        run.text("notes/run.json", json.dumps({"run": run.run_id, "again": True}))
        run.text("report.html", "<p>")
    return run


def registered(archive: Archive, tmp_path: Path) -> PolicyRef:
    """A tiny policy that a learning run made, as the first version of `served`."""
    with tracked_run(archive, LEARNING, LearningConfig(), Place()) as run:
        folder = model_folder(archive.tracking, run.reference)
        folder.parent.mkdir(parents=True, exist_ok=True)
        make_tiny_model(folder)
        policy = PolicyRef(name="made", digest=archive.folders.digest(folder))
        name_digest(run, policy)
        kept = {"model_id": finish_model(run, step=1)}
        kept |= {"source": hand_over_model(archive.tracking, run.reference)}
        register_version(archive, "served", policy, folder, run.run_id, "card", **kept)
    return policy


def test_files_of_a_run_are_the_servers_and_another_data_folder_reads_them(
    opened: Open, elsewhere: Archive, server: MlflowServer, data_dir: DataDir
) -> None:
    archive = opened()
    run = work(archive)
    location = archive.tracking.client.get_run(run.run_id).info.artifact_uri
    assert location.startswith("mlflow-artifacts:")
    assert not data_dir.run_artifacts.exists(), "no file of a run is in the data folder for good"
    kept = {path.name for path in (server.folder / "served").rglob(f"{run.run_id}/artifacts/**/*")}
    assert {"config.json", "template.yaml", "run.json", "report.html"} <= kept

    found = elsewhere.history.find(run.run_id)
    assert found.config(EvalConfig) == CONFIG
    assert json.loads(found.files.read("notes/run.json")) == {"run": run.run_id, "again": True}
    page = found.files.local("report.html")
    assert page is not None
    assert page.is_relative_to(elsewhere.data_dir.root)
    assert found.files.local("notes/none.json") is None
    with pytest.raises(FileNotFoundError):
        found.files.read("none.json")
    assert found.result() is None


def test_a_copy_here_is_not_taken_for_what_the_server_has(opened: Open, served: Between) -> None:
    run = work(archive := opened())
    files = archive.history.find(run.run_id).files
    assert isinstance(files, ServedFiles)
    files.path("notes/run.json").write_text("changed here")
    assert json.loads(files.read("notes/run.json"))["again"] is True


def test_an_experiment_is_named_and_made_where_the_server_keeps_its_own(
    opened: Open, served: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = work(opened())
    monkeypatch.setenv(EXPERIMENT_NAME, f"named {first.run_id[:8]}")
    second = work(archive := opened())
    assert [run.run_id for run in archive.history.every()] == [second.run_id]
    run = archive.tracking.client.get_run(second.run_id)
    assert run.info.experiment_id == archive.tracking.experiment_id
    monkeypatch.delenv(EXPERIMENT_NAME)
    assert [run.run_id for run in opened().history.every()] == [first.run_id]


def test_what_was_kept_for_one_experiment_is_sent_by_a_command_with_another(
    opened: Open, served: Between, monkeypatch: pytest.MonkeyPatch, data_dir: DataDir
) -> None:
    archive = opened()
    archive.tracking.client  # noqa: B018  # it is there at the start
    served.decide = lambda path: REFUSE
    run = work(archive)
    served.decide = lambda path: PASS
    monkeypatch.setenv(EXPERIMENT_NAME, f"named {run.run_id[:8]}")
    opened().tracking.client  # noqa: B018  # what is kept is sent when it is made
    assert unsent_files(data_dir, "mlflow") == []
    monkeypatch.delenv(EXPERIMENT_NAME)
    assert opened().history.find(run.run_id).status == "FINISHED"


def test_files_of_a_run_without_a_server_are_sent_with_its_new_id_in_them(
    opened: Open, served: Between, elsewhere: Archive
) -> None:
    archive = opened()
    archive.tracking.client  # noqa: B018  # it is there at the start
    served.decide = lambda path: REFUSE
    run = work(archive)
    assert json.loads(run.files.path("notes/run.json").read_text())["run"] == run.run_id
    served.decide = lambda path: PASS
    sent = opened()
    sent.tracking.client  # noqa: B018  # what is kept is sent when it is made
    assert sent.tracking.unsent.sent["keep file"] == 5  # one of them twice
    found = elsewhere.history.find(run.run_id)
    assert found.run_id != run.run_id
    assert json.loads(found.files.read("notes/run.json")) == {"run": found.run_id, "again": True}


def test_files_of_a_run_without_a_server_that_leaves_them_in_a_folder_are_there_later(
    opened: Open, served: Between, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"in a folder {tmp_path.name}"
    MlflowClient(served.uri).create_experiment(name, (tmp_path / "mounted").as_uri())
    monkeypatch.setenv(EXPERIMENT_NAME, name)
    archive = opened()
    archive.tracking.client  # noqa: B018  # it is there at the start
    served.decide = lambda path: REFUSE
    run = work(archive)
    served.decide = lambda path: PASS
    found = opened().history.find(run.run_id)
    assert found.run_id != run.run_id
    assert json.loads(found.files.read("notes/run.json")) == {"run": found.run_id, "again": True}
    folders = [path.name for path in (tmp_path / "mounted").iterdir()]
    assert folders == [found.run_id]


def test_a_version_is_fetched_by_its_digest_and_fetched_again_where_the_copy_was_changed(
    opened: Open, elsewhere: Archive, tmp_path: Path, server: MlflowServer
) -> None:
    policy = registered(opened(), tmp_path)
    version = registered_version(elsewhere, NAME)
    assert version.digest == policy.digest
    assert version.folder.is_relative_to(elsewhere.data_dir.mlflow_cache)
    assert elsewhere.folders.digest(version.folder) == policy.digest
    (weights,) = version.folder.glob("*.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(b"changed here")
    assert version.folder.joinpath(weights.name).read_bytes() == whole
    assert version.intact()

    (theirs,) = (server.folder / "served").rglob(f"models/*/artifacts/{weights.name}")
    theirs.write_bytes(b"changed there")
    assert not version.intact(), "the gate looks at what the registry has, not at a copy"
    used = intact_folder(elsewhere.folders, version, NAME, print)
    assert used == version.folder, "the copy is what was registered, and can be used"
    third = Archive(DataDir(tmp_path / "third"))
    new = registered_version(third, NAME)
    with pytest.raises(InputError, match=r"model.safetensors is not what was registered"):
        intact_folder(third.folders, new, NAME, print)
    theirs.write_bytes(whole)
    assert version.intact()
    assert intact_folder(third.folders, new, NAME, print) == new.folder, "it is fetched again"


def test_a_version_made_without_the_server_is_given_to_it_later(
    opened: Open, served: Between, elsewhere: Archive, tmp_path: Path
) -> None:
    archive = opened()
    archive.tracking.client  # noqa: B018  # it is there at the start
    served.decide = lambda path: REFUSE
    policy = registered(archive, tmp_path)
    served.decide = lambda path: PASS
    sent = opened()
    sent.tracking.client  # noqa: B018  # what is kept is sent when it is made
    assert sent.tracking.unsent.reasons == []
    assert sent.tracking.unsent.sent["keep model file"] > 2
    versions = [
        one
        for one in sent.tracking.client.search_model_versions("name='served'")
        if one.tags["threeloops.digest"] == policy.digest
    ]
    newest = max(versions, key=lambda one: int(one.version))
    there = registered_version(elsewhere, f"models:/served/{newest.version}")
    assert elsewhere.folders.digest(there.folder) == policy.digest
