"""A name leads to a folder: the default, a folder, the hub, or the registry; else one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from artifacts.registry.hub import HUB_FILES
from artifacts.registry.resolve import check_model_name, known_folder, resolve_policy
from artifacts.registry.versions import register_version
from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, tracked_run
from policy.model.embedded import FOLDER
from policy.model.load import fingerprint
from schemas.config import LearningConfig
from schemas.errors import InputError
from schemas.loops import LEARNING

Download = Callable[..., str]


@pytest.fixture
def asked(tiny: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of a hub that has the tiny model under every name but `owner/none`."""
    names: list[str] = []

    def info(model: str, timeout: float) -> SimpleNamespace:
        if model == "owner/none":
            raise FileNotFoundError(model)
        return SimpleNamespace(sha="c0ffee")

    def download(model: str, *, revision: str, allow_patterns: list[str], local_dir: Path) -> None:
        names.append(model)
        assert (revision, allow_patterns) == ("c0ffee", HUB_FILES)
        shutil.copytree(tiny, local_dir, dirs_exist_ok=True)

    monkeypatch.setattr("huggingface_hub.model_info", info)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    return names


def test_a_folder_is_known_by_the_digest_of_its_files(archive: Archive, tiny: str) -> None:
    policy = resolve_policy(archive, tiny)
    assert (policy.name, policy.digest) == (tiny, fingerprint(Path(tiny)))
    assert archive.folders.find(policy) == known_folder(archive, tiny) == Path(tiny)


def test_a_model_of_the_hub_is_fetched_once(archive: Archive, asked: list[str]) -> None:
    said: list[str] = []
    assert known_folder(archive, "owner/model") is None
    first = resolve_policy(archive, "owner/model", said.append)
    assert resolve_policy(archive, "owner/model", said.append) == first
    assert asked == ["owner/model"]
    assert said == ["fetching owner/model from the hub"]
    folder = archive.data_dir.models / "hub" / "owner--model"
    assert known_folder(archive, "owner/model") == archive.folders.find(first) == folder


def test_what_the_hub_does_not_give_is_refused(archive: Archive, asked: list[str]) -> None:
    with pytest.raises(InputError, match=r"--model owner/none: could not be fetched from the hub"):
        resolve_policy(archive, "owner/none")


def test_a_folder_that_exists_wins_over_the_hub(
    archive: Archive, asked: list[str], tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny, tmp_path / "owner" / "model")
    monkeypatch.chdir(tmp_path)
    policy = resolve_policy(archive, "owner/model")
    assert archive.folders.find(policy) == tmp_path / "owner" / "model"
    assert asked == []


def test_the_default_is_prepared_below_the_data_folder(
    archive: Archive, tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def prepare(models: Path, on_progress: Callable[[str], None]) -> Path:
        on_progress("converting")
        return Path(shutil.copytree(tiny, models / FOLDER, dirs_exist_ok=True))

    monkeypatch.setattr("artifacts.registry.resolve.prepare_default", prepare)
    said: list[str] = []
    check_model_name(archive, "default")
    assert known_folder(archive, "default") is None
    policy = resolve_policy(archive, "default", said.append)
    assert said == ["converting"]
    assert known_folder(archive, "default") == archive.folders.find(policy)


def test_a_registered_version_is_found_by_its_number_and_its_alias(
    archive: Archive, tiny: str
) -> None:
    policy = resolve_policy(archive, tiny)
    with tracked_run(archive, LEARNING, LearningConfig(), Place()) as run:
        register_version(archive, "mine", policy, archive.folders.find(policy), run.run_id, "")
    for name in ("models:/mine/1", "models:/mine@candidate"):
        check_model_name(archive, name)
        assert resolve_policy(archive, name) == policy.model_copy(update={"name": name})
        assert known_folder(archive, name) == Path(tiny)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no folder", "no such folder, and not a hub id either"),
        ("a/b/c", "no such folder, and not a hub id either"),
        ("models:/mine", "is not a registry name"),
        ("models:/mine/1", "no such version in the registry"),
        ("EMPTY", "config.json"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused_before_any_work(
    archive: Archive, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "EMPTY").mkdir()
    shown = str(tmp_path / name) if name == "EMPTY" else name
    for refused in (check_model_name, resolve_policy):
        check: Any = refused
        with pytest.raises(InputError, match=reason):
            check(archive, shown)
