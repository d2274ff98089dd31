"""What a model's small files say about whether it can be asked and can end an answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy.model.load import load_policy
from policy.model.readiness import check_can_answer
from schemas.errors import InputError


@pytest.fixture
def folder(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a tiny model's folder whose weights cannot be read."""
    copy = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    (copy / "model.safetensors").write_bytes(b"")
    return copy


def without(file: Path, *keys: str) -> None:
    """Remove these keys of a JSON file."""
    content: dict[str, Any] = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in content.items() if k not in keys}))


def test_a_whole_model_is_ready_and_its_weights_are_not_opened(folder: Path) -> None:
    check_can_answer(folder, "few_shot_chat@1")
    (folder / "generation_config.json").unlink()
    check_can_answer(folder, "few_shot_chat@1")


def test_a_model_without_a_chat_template_is_refused_for_a_chat_alone(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(InputError) as caught:
        check_can_answer(folder, "few_shot_chat@1")
    for words in ("no chat template", str(folder), "--template few_shot_plain@1"):
        assert words in str(caught.value)
    check_can_answer(folder, "few_shot_plain@1")


def test_a_model_without_an_end_token_is_refused(folder: Path) -> None:
    for file in ("config.json", "generation_config.json"):
        without(folder / file, "eos_token_id")
    without(folder / "tokenizer_config.json", "eos_token")
    with pytest.raises(InputError, match="no end token") as caught:
        check_can_answer(folder, "few_shot_chat@1")
    assert "generation_config.json" in str(caught.value)


def test_what_is_let_through_is_what_loading_lets_through(
    tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(tiny_folder("llama"), tmp_path / "model"))
    without(copy / "config.json", "eos_token_id")
    without(copy / "tokenizer_config.json", "eos_token")
    check_can_answer(copy, "few_shot_plain@1")
    assert load_policy(copy, name="model", device="cpu").end_token_ids


def test_a_config_that_cannot_be_read_is_left_to_loading(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{", encoding="utf-8")
    check_can_answer(folder, "few_shot_chat@1")
