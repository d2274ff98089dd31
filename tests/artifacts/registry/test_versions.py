"""Versions count up; the newest is the candidate, and one at most is the champion."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from artifacts.registry.versions import (
    RegisteredVersion,
    champion_of,
    make_champion,
    register_version,
    registered_version,
    registered_versions,
    tag_version,
)
from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, tracked_run
from schemas.config import LearningConfig
from schemas.errors import InputError
from schemas.identity import file_digest
from schemas.loops import LEARNING
from schemas.references import PolicyRef
from tests.artifacts.measuring import policy_in

pytestmark = pytest.mark.slow


def register(archive: Archive, policy: PolicyRef, name: str = "mine") -> RegisteredVersion:
    with tracked_run(archive, LEARNING, LearningConfig(), Place()) as run:
        made = register_version(
            archive, name, policy, archive.folders.find(policy), run.run_id, "a card", base="b"
        )
    return registered_version(archive, made.name)


@pytest.fixture
def policy(archive: Archive, tmp_path: Path) -> PolicyRef:
    return policy_in(archive, tmp_path / "my model %")


def test_a_version_knows_its_folder_its_digest_and_its_run(
    archive: Archive, policy: PolicyRef, tmp_path: Path
) -> None:
    version = register(archive, policy)
    assert version.name == "models:/mine/1"
    assert (version.folder, version.digest) == (tmp_path / "my model %", policy.digest)
    assert archive.history.find(version.run_id).loop is LEARNING
    kept = archive.tracking.client.get_model_version("mine", "1")
    assert kept.description == "a card"
    files = json.loads(kept.tags.pop("threeloops.files"))
    assert files == {"model.safetensors": file_digest(version.folder / "model.safetensors")}
    assert kept.tags == {"threeloops.digest": policy.digest, "threeloops.base": "b"}


def test_the_newest_version_is_the_candidate(archive: Archive, policy: PolicyRef) -> None:
    first, second = register(archive, policy), register(archive, policy)
    assert (first.number, second.number) == ("1", "2")
    assert registered_version(archive, "models:/mine@candidate") == second
    assert registered_version(archive, "models:/mine/1") == first


def test_a_version_that_was_registered_without_its_alias_gets_it(
    archive: Archive, policy: PolicyRef
) -> None:
    client, folder = archive.tracking.client, archive.folders.find(policy)

    def again(version: RegisteredVersion) -> PolicyRef:
        return register_version(archive, "mine", policy, folder, version.run_id, "a card")

    first = register(archive, policy)
    client.delete_registered_model_alias("mine", "candidate")  # as if it was killed before
    assert again(first).name == first.name
    assert registered_version(archive, "models:/mine@candidate") == first
    second = register(archive, policy)
    client.set_registered_model_alias("mine", "candidate", "1")
    again(second)
    assert registered_version(archive, "models:/mine@candidate") == second
    again(first)
    assert registered_version(archive, "models:/mine@candidate") == second, "a newer one has it"
    assert len(registered_versions(archive)) == 2


def test_versions_are_listed_by_name_and_number(archive: Archive, policy: PolicyRef) -> None:
    assert registered_versions(archive) == []
    for name in ("b", *["a"] * 10):
        register(archive, policy, name)
    assert registered_versions(archive) == [
        *(f"models:/a/{n}" for n in range(1, 11)),
        "models:/b/1",
    ]


def test_one_version_is_the_champion_until_another_is(archive: Archive, policy: PolicyRef) -> None:
    assert champion_of(archive, "mine") is None
    first, second = register(archive, policy), register(archive, policy)
    assert champion_of(archive, "mine") is None
    for version in (first, second):
        make_champion(archive, version)
        assert champion_of(archive, "mine") == version


def test_tags_of_a_version_are_ours_and_cut(archive: Archive, policy: PolicyRef) -> None:
    tag_version(archive, register(archive, policy), decision="x" * 6000)
    tags = archive.tracking.client.get_model_version("mine", "1").tags
    assert tags["threeloops.decision"] == "x" * 5000


def test_a_missing_version_is_refused_with_those_that_there_are(
    archive: Archive, policy: PolicyRef
) -> None:
    with pytest.raises(InputError, match=r"--model models:/a/1: no such .* has none yet"):
        registered_version(archive, "models:/a/1")
    register(archive, policy)
    with pytest.raises(InputError, match=r"the registry has models:/mine/1$"):
        registered_version(archive, "models:/mine/9")
    with pytest.raises(InputError, match="has models:/mine/1; `threeloops promote` makes one"):
        registered_version(archive, "models:/mine@champion", "--against")


def test_a_number_that_no_version_can_have_is_one_that_is_missing(archive: Archive) -> None:
    with pytest.raises(InputError, match="no such version"):
        registered_version(archive, f"models:/a/{'9' * 30}")


@pytest.fixture
def locked(archive: Archive, policy: PolicyRef, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A version is the champion, and another process holds the database."""
    from sqlalchemy import sql

    make_champion(archive, register(archive, policy))
    text = sql.text
    path = archive.data_dir.tracking_database
    with monkeypatch.context() as patched, contextlib.closing(sqlite3.connect(path)) as other:
        # MLflow waits for 20 seconds
        patched.setattr(sql, "text", lambda words: text(words.replace("20000", "1")))
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_registry_that_cannot_be_read_is_not_one_without_a_champion(
    archive: Archive, locked: None
) -> None:
    for ask in (
        lambda: champion_of(archive, "mine"),
        lambda: registered_version(archive, "models:/mine/1"),
        lambda: registered_version(archive, "models:/mine@champion"),
    ):
        with pytest.raises(InputError, match=r"cannot be read \(.*database is locked\)") as caught:
            ask()
        assert "\n" not in str(caught.value)
        assert "no such version" not in str(caught.value)


def test_a_model_that_another_command_registers_at_this_moment_is_no_error(
    archive: Archive, policy: PolicyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = archive.tracking.client
    create = client.create_registered_model

    def other_is_faster(name: str, **more: Any) -> RegisteredModel:
        with contextlib.suppress(MlflowException):
            create(name)
        return create(name, **more)

    monkeypatch.setattr(client, "create_registered_model", other_is_faster)
    assert register(archive, policy).name == "models:/mine/1"
    assert register(archive, policy).name == "models:/mine/2"


def test_why_a_model_cannot_be_registered_is_not_hidden(
    archive: Archive, policy: PolicyRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> NoReturn:
        raise MlflowException("database or disk is full")

    monkeypatch.setattr(archive.tracking.client, "create_registered_model", full)
    with pytest.raises(MlflowException, match="is full"):
        register(archive, policy)


@pytest.mark.parametrize("name", ["models:/a", "models:/a/b", "models:/a b/1", "models:/a/1/2"])
def test_what_is_no_registry_name_is_refused(archive: Archive, name: str) -> None:
    with pytest.raises(InputError, match=f"--against {name}: is not a registry name"):
        registered_version(archive, name, "--against")


def test_a_version_is_intact_while_its_files_are_as_registered(
    archive: Archive, policy: PolicyRef
) -> None:
    version = register(archive, policy)
    assert version.intact()
    weights = version.folder / "model.safetensors"
    weights.write_text("WEIGHTS")
    assert not version.intact()
    weights.unlink()
    assert not version.intact()
    version.folder.rmdir()
    assert not version.intact()
