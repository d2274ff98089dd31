"""A model is read from its own folder alone, and from files that its fingerprint knows."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from policy.model.load import check_folder, fingerprint, load_policy
from schemas.errors import InputError

INDEX = "model.safetensors.index.json"
TEMPLATES = "additional_chat_templates"


@pytest.fixture
def sharded(tiny: str, tmp_path: Path) -> Path:
    """The tiny model with its weights in one file that an index names, and a copy outside."""
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    shutil.copy(folder / "part.safetensors", tmp_path / "outside.safetensors")
    write_index(folder, "part.safetensors")
    return folder


def write_index(folder: Path, name: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        check_folder(folder)
    for read in (fingerprint, lambda place: load_policy(place, name="m", device="cpu")):
        with pytest.raises(InputError):
            read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_index_may_name_files_of_its_folder(sharded: Path) -> None:
    check_folder(sharded)
    before = fingerprint(sharded)
    content = bytearray((sharded / "part.safetensors").read_bytes())
    content[-1] ^= 1
    (sharded / "part.safetensors").write_bytes(content)
    assert fingerprint(sharded) != before


@pytest.mark.parametrize(
    "name", ["../outside.safetensors", "ABSOLUTE", "sub/part.safetensors", ".."]
)
def test_an_index_that_names_a_file_elsewhere_is_refused(
    sharded: Path, tmp_path: Path, name: str
) -> None:
    (sharded / "sub").mkdir()
    shutil.copy(sharded / "part.safetensors", sharded / "sub")
    write_index(sharded, str(tmp_path / "outside.safetensors") if name == "ABSOLUTE" else name)
    said = refusal(sharded)
    assert str(sharded / INDEX) in said
    assert "outside this folder" in said


def test_an_index_that_names_a_pickle_is_refused(sharded: Path) -> None:
    (sharded / "part.bin").write_bytes(b"not even a pickle")
    write_index(sharded, "part.bin")
    assert "part.bin" in refusal(sharded)


@pytest.mark.parametrize("content", [[], {"weight_map": []}, {"weight_map": {"a": 3}}, {}])
def test_an_index_that_maps_nothing_is_refused(sharded: Path, content: Any) -> None:
    (sharded / INDEX).write_text(json.dumps(content))
    assert INDEX in refusal(sharded)


def test_a_link_that_leads_out_of_the_folder_is_refused(sharded: Path, tmp_path: Path) -> None:
    (sharded / "part.safetensors").unlink()
    (sharded / "part.safetensors").symlink_to(tmp_path / "outside.safetensors")
    assert "outside this folder" in refusal(sharded)


def test_a_snapshot_in_the_cache_of_the_hub_is_links_into_its_blobs(
    sharded: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "models--owner--name"
    snapshot, blobs = cache / "snapshots" / "0a1b2c", cache / "blobs"
    for made in (snapshot, blobs):
        made.mkdir(parents=True)
    for number, file in enumerate(sorted(sharded.iterdir())):
        shutil.copy(file, blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(Path("../../blobs") / f"{number:040x}")
    check_folder(snapshot)
    assert fingerprint(snapshot) == fingerprint(sharded)
    (snapshot / "part.safetensors").unlink()
    (snapshot / "part.safetensors").symlink_to(tmp_path / "outside.safetensors")
    assert "outside this folder" in refusal(snapshot)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("name", ["adapter_config.json", "anything", TEMPLATES + "/a.jinja"])
def test_what_is_no_file_is_refused_before_anybody_waits_for_it(
    tiny: str, tmp_path: Path, kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        monkeypatch.chdir(path.parent)  # the name of a socket has less than 108 bytes
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    with pytest.raises(InputError) as caught:
        check_folder(folder)
    assert str(caught.value).startswith(f"{path}: is no plain file and no folder; move it out")


def test_links_to_nothing_and_other_folders_do_no_harm(tiny: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    (folder / "notes").mkdir()
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "linked").symlink_to(folder / "config.json")
    check_folder(folder)


def test_a_multitude_of_chat_templates_and_a_large_one_are_refused(
    tiny: str, tmp_path: Path
) -> None:
    """transformers reads all of them whole."""
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    templates = folder / TEMPLATES
    templates.mkdir()
    for number in range(100):
        (templates / f"{number}.jinja").write_text("x")
    check_folder(folder)
    with (templates / "99.jinja").open("wb") as file:
        file.truncate(3 * 2**20)
    with pytest.raises(InputError, match=r"99.jinja: is larger than 2 MB"):
        check_folder(folder)
    for name in ("99.jinja", "100.jinja"):
        (templates / name).write_text("x")
    with pytest.raises(InputError, match="holds 101 chat templates"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("config.json", {"transformers_weights": "other.safetensors"}),
        ("config.json", {"configuration_files": ["config.4.0.0.json"]}),
        ("config.json", {"attn_implementation": "somebody/kernel@main:forward"}),
        ("config.json", {"_attn_implementation": {"text_config": "somebody/kernel"}}),
        ("config.json", {"experts_implementation": "somebody/kernel"}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["tokenizer.4.0.0.json"]}),
    ],
)
def test_a_model_whose_configuration_names_other_files_is_refused(
    tiny: str, tmp_path: Path, file: str, setting: Mapping[str, Any]
) -> None:
    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **setting}))
    with pytest.raises(InputError) as caught:
        check_folder(folder)
    assert f"{next(iter(setting))}" in str(caught.value)
    assert str(folder / file) in str(caught.value)
