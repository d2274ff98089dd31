"""A model's files are hashed once, and again when one of them changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.store.policy_folders import PolicyFolders
from policy.model.load import fingerprint
from policy.model.tiny import make_tiny_model
from schemas.errors import InputError, StoreError
from schemas.identity import file_digest
from schemas.references import PolicyRef


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("weights")
    return folder


def hashed(folders: PolicyFolders) -> list[str]:
    return [path.name for path in folders.hashed]


def test_a_digest_is_the_fingerprint_and_is_remembered(data_dir: DataDir, model: Path) -> None:
    folders = PolicyFolders(data_dir)
    assert folders.digest(model) == folders.digest(model) == fingerprint(model)
    assert hashed(folders) == ["config.json", "model.safetensors"]


def test_another_process_remembers_it_too(data_dir: DataDir, model: Path) -> None:
    digest = PolicyFolders(data_dir).digest(model)
    other = PolicyFolders(data_dir)
    assert other.digest(model) == digest
    assert hashed(other) == []
    assert other.find(PolicyRef(name="m", digest=digest)) == model


@pytest.mark.parametrize("text", ["longer weights", "WEIGHTS"])
def test_a_file_that_changed_is_hashed_again(data_dir: DataDir, model: Path, text: str) -> None:
    folders, weights = PolicyFolders(data_dir), model / "model.safetensors"
    before, status = folders.digest(model), weights.stat()
    weights.write_text(text)
    # a copy that keeps the time of the original still has a new time of change
    os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    folders.hashed.clear()
    assert folders.digest(model) == fingerprint(model) != before
    assert hashed(folders) == ["model.safetensors"]


def test_a_file_that_another_took_the_place_of_is_hashed_again(
    data_dir: DataDir, model: Path
) -> None:
    folders, weights = PolicyFolders(data_dir), model / "model.safetensors"
    before = folders.digest(model)
    other = model.parent / "other"
    other.write_text("WEIGHTS")
    status = weights.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(weights)
    assert folders.digest(model) == fingerprint(model) != before


def test_a_file_that_is_written_while_it_is_hashed_is_hashed_again(
    data_dir: DataDir, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, left = model / "model.safetensors", ["WEIGHTS"]

    def written_meanwhile(path: Path) -> str:
        digest = file_digest(path)
        if path == weights and left:
            weights.write_text(left.pop())
        return digest

    monkeypatch.setattr("artifacts.store.policy_folders.file_digest", written_meanwhile)
    assert PolicyFolders(data_dir).digest(model) == fingerprint(model)
    left.extend(["weights", "WEIGHTS"] * 3)
    weights.write_text("others")
    with pytest.raises(StoreError, match="is being written"):
        PolicyFolders(data_dir).digest(model)


def test_a_second_write_within_a_tick_of_the_clock_is_seen(data_dir: DataDir, model: Path) -> None:
    folders, weights = PolicyFolders(data_dir), model / "model.safetensors"
    for text in ("weights", "WEIGHTS") * 20:
        weights.write_text(text)
        assert folders.digest(model) == fingerprint(model)


def test_both_digests_of_a_changed_folder_lead_to_it(data_dir: DataDir, model: Path) -> None:
    folders = PolicyFolders(data_dir)
    before = folders.digest(model)
    (model / "config.json").write_text('{"a": 1}')
    after = folders.digest(model)
    assert {folders.find(PolicyRef(name="m", digest=d)) for d in (before, after)} == {model}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"files": {}}',
        "null",
        '{"files": [], "folders": {}}',
        "FILE",
        "FOLDER",
    ],
)
def test_a_damaged_record_is_made_anew(data_dir: DataDir, model: Path, content: str) -> None:
    folders, record = PolicyFolders(data_dir), data_dir.models / "fingerprints.json"
    digest = folders.digest(model)
    if content == "FILE":  # its own place holds something else
        content = json.dumps({"files": {str(model / "config.json"): 3}, "folders": {}})
    if content == "FOLDER":
        content = json.dumps({"files": {}, "folders": {digest: 3}})
    record.write_text(content)
    folders.hashed.clear()
    assert folders.digest(model) == digest
    assert hashed(folders) == ["config.json", "model.safetensors"]
    assert set(json.loads(record.read_text())["folders"]) == {digest}


def test_what_another_process_wrote_meanwhile_is_kept(
    data_dir: DataDir, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    (second / "model.safetensors").write_text("others")
    here, there = PolicyFolders(data_dir), PolicyFolders(data_dir)

    def interrupted(path: Path) -> str:
        if not there.hashed:
            there.digest(second)
        return file_digest(path)

    monkeypatch.setattr("artifacts.store.policy_folders.file_digest", interrupted)
    here.digest(model)
    folders = PolicyFolders(data_dir)
    for folder in (model, second):
        assert folders.find(PolicyRef(name="m", digest=fingerprint(folder))) == folder


def test_an_unknown_policy_and_a_folder_that_is_gone_are_refused(
    data_dir: DataDir, model: Path
) -> None:
    folders = PolicyFolders(data_dir)
    with pytest.raises(StoreError, match="m: the folder of this policy is not known"):
        folders.find(PolicyRef(name="m", digest="0" * 64))
    digest = folders.digest(model)
    model.rename(model.with_name("moved"))
    with pytest.raises(StoreError, match="not known on this machine"):
        folders.find(PolicyRef(name="m", digest=digest))


def test_a_folder_without_weights_is_refused(data_dir: DataDir, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights in this folder"):
        PolicyFolders(data_dir).digest(tmp_path)


def test_a_folder_that_another_process_overwrote_is_still_found_by_this_one(
    data_dir: DataDir, tiny: str
) -> None:
    mine = PolicyFolders(data_dir)
    digest = mine.digest(Path(tiny))
    (data_dir.models / "fingerprints.json").write_text('{"files": {}, "folders": {}}')
    assert mine.find(PolicyRef(name="tiny", digest=digest)) == Path(tiny)


def test_what_two_processes_learn_is_kept_of_both(
    data_dir: DataDir, tiny: str, tmp_path: Path
) -> None:
    first, second = PolicyFolders(data_dir), PolicyFolders(data_dir)
    other = make_tiny_model(tmp_path / "other", seed=1)
    digests = [first.digest(Path(tiny)), second.digest(other)]
    third = PolicyFolders(data_dir)
    found = [third.find(PolicyRef(name="x", digest=digest)) for digest in digests]
    assert found == [Path(tiny), other]
