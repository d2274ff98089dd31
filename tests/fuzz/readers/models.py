"""Readers of what comes with a model: its name, its folder, its weights' headers, its template."""

from __future__ import annotations

import json
import shutil

from artifacts.registry.resolve import HUB_ID, check_model_name, known_folder
from policy.files.header import stored_tensors
from policy.files.model_files import defining_files
from policy.limited.chat import ChatError, rendered
from policy.model.load import check_folder, check_weights, load_config
from policy.model.memory import learning_needs, measuring_needs, parameter_count
from policy.model.readiness import check_can_answer
from schemas.errors import InputError
from schemas.files import exists, of_user
from tests.fuzz.room import Room

CHAT = [{"role": "user", "content": "1 + 1?"}]
VARIABLES = {"add_generation_prompt": True}


def model_name(content: bytes, room: Room) -> None:
    """What --model names; what is accepted is the default, a folder that is there or a hub id."""
    name = content.decode("utf-8", "surrogateescape")
    check_model_name(room.archive, name)
    folder = known_folder(room.archive, name)
    if name == "default" or exists(of_user(name)):
        return
    assert HUB_ID.fullmatch(name), name
    if folder is not None:
        folder.relative_to(room.data_dir.models / "hub")


def weights(content: bytes, room: Room) -> None:
    """The header of a safetensors file; what is accepted holds no more than the file can."""
    path = room.file("model.safetensors", content)
    for tensor in stored_tensors([path]):
        assert 0 <= tensor.numbers <= 8 * len(content)


def model_folder(content: bytes, room: Room) -> None:
    """The small files of a model, from a JSON object of names and texts."""
    assert room.tiny is not None
    folder = room.folder("model")
    for file in room.tiny.iterdir():
        shutil.copy(file, folder)
    for name, text in json.loads(content).items():
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            (folder / name).write_bytes(text.encode("latin-1"))
    check_folder(folder)
    check_weights(folder)
    load_config(folder)
    check_can_answer(folder, "few_shot_chat@1")
    assert 0 < parameter_count(folder) < 10**6
    assert measuring_needs(folder).total > 0
    learning_needs(folder, samples=2, max_new_tokens=2)
    assert all(file.parent == folder for file in defining_files(folder))


def import_libraries(room: Room) -> None:
    """Read the tiny model once, so that no input is given the time that an import takes."""
    model_folder(b"{}", room)


def template(content: bytes, room: Room) -> None:
    """A chat template, rendered in its own process; a fault is one line too."""
    try:
        (text,) = rendered(content.decode("utf-8", "replace"), VARIABLES, [CHAT])
    except ChatError as error:
        reason = error.fault.reason
        assert reason.strip()
        assert len(reason) < 1000
        raise InputError(reason, "chat_template.jinja") from None
    assert isinstance(text, str)
