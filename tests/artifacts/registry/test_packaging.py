"""A saved policy stays a transformers folder and becomes an MLflow model beside it."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from artifacts.registry.packaging import NEEDED, TOKENIZER_FOLDER, package
from policy.model.load import fingerprint


@pytest.fixture
def folder(tiny: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def packaged(folder: Path) -> Path:
    package(folder, base="owner/model", run_id="r" * 32, model_id="m-1", card="# card\n")
    return folder


def test_it_says_how_to_load_it(folder: Path) -> None:
    before = fingerprint(folder)
    described = yaml.safe_load((packaged(folder) / "MLmodel").read_text())
    assert (described["run_id"], described["model_id"]) == ("r" * 32, "m-1")
    assert described["model_size_bytes"] == (folder / "model.safetensors").stat().st_size
    flavor = described["flavors"]["transformers"]
    assert flavor["pipeline_model_type"] == "LlamaForCausalLM"
    assert (flavor["source_model_name"], flavor["task"]) == ("owner/model", "text-generation")
    assert (folder / "README.md").read_text() == "# card\n"
    needed = (folder / "requirements.txt").read_text().splitlines()
    assert needed == [f"{name}=={version(name)}" for name in NEEDED]
    assert fingerprint(folder) == before


def test_the_tokenizer_is_linked_and_not_copied(folder: Path) -> None:
    linked = packaged(folder) / TOKENIZER_FOLDER
    assert (linked / "tokenizer.json").samefile(folder / "tokenizer.json")
    names = {file.name for file in linked.iterdir()}
    assert "tokenizer_config.json" in names
    assert not names & {"config.json", "generation_config.json", "model.safetensors"}


def test_where_files_cannot_be_linked_they_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refused)
    copied = packaged(folder) / TOKENIZER_FOLDER / "tokenizer.json"
    assert not copied.samefile(folder / "tokenizer.json")
    assert copied.read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_it_can_be_packaged_again(folder: Path) -> None:
    packaged(folder)
    (folder / TOKENIZER_FOLDER / "old.json").touch()
    assert not (packaged(folder) / TOKENIZER_FOLDER / "old.json").exists()
