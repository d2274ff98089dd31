"""A tokenizer read without transformers gives the same tokens as with it, or is not read."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy.model.load import load_tokenizer
from policy.model.plain_tokenizer import plain_tokenizer
from policy.model.tiny import make_tiny_model

HARD = (
    "",
    " ",
    "\n\n \t\r\n",
    "Final: 42",
    " Final:  -0042.50\n",
    "a" * 300,
    "0123456789" * 20,
    "<|im_start|>user\nWhat is 1 + 1?<|im_end|>",
    "<|end|><|user|> <|endoftext|>x<|END|>",
    "<|im_\u200bstart|>",
    "caf\u00e9 cafe\u0301 \ufb01 \u00df \u1e9e \u0130 \u0131",
    "\u4f60\u597d \u0627\u0644\u0633 \u0e01\u0e33 \u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \ue000 \ufffd \u202e",
    "\0\x01\x1b[31m\x7f\x85\u2028",
    "don't they'll I'M 'S  'ts",
    "x = [1,2];\n\tif (x !== y) { return `${z}` }",
)


def corpus() -> list[str]:
    """Hard texts, and random ones of characters of all kinds."""
    chance = random.Random(7)
    kinds = ("0123456789 ", "ab Final:\n", "\u00e9\u4f60\u0301 \U0001f642\u200d", "<|imend_start>")
    made = ["".join(chance.choices("".join(kinds), k=chance.randrange(1, 80))) for _ in range(200)]
    # any code point but the halves of pairs, which no text has
    points = [chance.choice((chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)))
              for _ in range(2000)]  # fmt: skip
    return [*HARD, *made, *("".join(map(chr, points[at : at + 20])) for at in range(0, 2000, 20))]


def assert_equal_tokens(folder: Path) -> None:
    """Both read the same ids, and the same text of each, for every text."""
    plain, usual = plain_tokenizer(folder), load_tokenizer(folder)
    assert plain is not None
    for text in corpus():
        ids = usual(text, add_special_tokens=False)["input_ids"]
        assert plain.ids(text) == ids
        pieces = [usual.decode([token], skip_special_tokens=False) for token in ids]
        assert [plain.piece(token) for token in ids] == pieces


@pytest.fixture
def folder(tiny: str, tmp_path: Path) -> Path:
    """A folder of a tiny model that may be changed."""
    return Path(shutil.copytree(tiny, tmp_path / "model"))


def change(file: Path, **values: Any) -> None:
    """Give settings of a JSON file other values."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_tiny_models_tokens_are_those_of_transformers(folder: Path) -> None:
    assert_equal_tokens(folder)


def test_so_are_those_of_a_tokenizer_that_transformers_has_saved_again(folder: Path) -> None:
    load_tokenizer(folder).save_pretrained(folder)
    assert_equal_tokens(folder)


@pytest.mark.slow
def test_the_default_models_tokens_are_those_of_transformers(default_folder: Path) -> None:
    assert_equal_tokens(default_folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer_class": "LlamaTokenizer"},
        {"tokenizer_class": None},
        {"backend": "sentencepiece"},
        {"clean_up_tokenization_spaces": True},
        {"model_max_length": "many"},
        {"model_max_length": True},
        {"split_special_tokens": True},
        {"added_tokens_decoder": {}},
        {"extra_special_tokens": ["<new>"]},
        {"eos_token": "<new>"},
        {"eos_token": {"content": "<|end|>", "lstrip": True}},
        {"fix_mistral_regex": True},
        {"add_prefix_space": True},
        {"image_token": "<new>"},
    ],
)
def test_settings_that_may_matter_are_left_to_transformers(
    folder: Path, settings: dict[str, Any]
) -> None:
    change(folder / "tokenizer_config.json", **settings)
    assert plain_tokenizer(folder) is None


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("config.json", {"model_type": "mistral"}),
        ("tokenizer.json", {"padding": {"strategy": "BatchLongest"}}),
        ("tokenizer.json", {"truncation": {"max_length": 3}}),
        ("tokenizer.json", {"added_tokens": []}),
    ],
)
def test_so_are_other_models_and_what_a_file_says_of_batches(
    folder: Path, name: str, values: dict[str, Any]
) -> None:
    change(folder / name, **values)
    assert plain_tokenizer(folder) is None


def _remove(file: Path) -> None:
    file.unlink()


def _damage(file: Path) -> None:
    file.write_text("[")


@pytest.mark.parametrize("harm", [_remove, _damage])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_so_are_files_that_are_missing_or_damaged(
    folder: Path, name: str, harm: Callable[[Path], None]
) -> None:
    harm(folder / name)
    assert plain_tokenizer(folder) is None


@pytest.mark.parametrize("name", ["added_tokens.json", "special_tokens_map.json", "vocab.json"])
def test_so_are_files_that_transformers_reads_beside_it(folder: Path, name: str) -> None:
    (folder / name).write_text("{}")
    assert plain_tokenizer(folder) is None


@pytest.mark.parametrize("architecture", ["qwen3", "gemma2"])
def test_so_are_architectures_that_nobody_has_compared(tmp_path: Path, architecture: str) -> None:
    folder = make_tiny_model(tmp_path / "tiny", architecture=architecture)
    assert plain_tokenizer(folder) is None


def test_tokens_of_a_text_import_neither_torch_nor_transformers(tiny: str, tmp_path: Path) -> None:
    heavy = "torch", "transformers", "mlflow", "prefect", "pandas"
    code = (
        "import sys; from flows.cli.parser import main; main(sys.argv[1:]);"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    words = ["tokens", "Final: 42", "--model", tiny]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
