"""A tokenizer that its tokenizer.json describes whole, used without importing transformers.

transformers takes seconds to import and torch with it, and then hands each text to the library
`tokenizers`, which takes a moment. So where nothing else in a model's folder changes what
transformers would make of the file, the library is asked directly. That is decided by what is
known: one model type, one class, and settings that cannot matter. Whatever else a folder says, it
is left to transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.files.model_files import read_json
from policy.files.vocabulary import check_vocabulary
from policy.limited.tokenizer_trial import try_file, try_loaded
from schemas.errors import InputError

TYPES = ("llama",)  # for others transformers may build a tokenizer of its own from the file's parts
CLASS = "TokenizersBackend"
NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")
HARMLESS = (
    "backend",
    "chat_template",
    "clean_up_tokenization_spaces",  # only where it is false, see below
    "is_local",
    "local_files_only",
    "model_max_length",
    "name_or_path",
    "padding_side",
    "tokenizer_class",
)
OTHER_FILES = ("added_tokens.json", "special_tokens_map.json", "tokenizer.model", "vocab.json")


@dataclass(eq=False)
class PlainTokenizer:
    """The library's tokenizer, by the names that transformers has for it and its place."""

    backend_tokenizer: Any
    name_or_path: str

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without such as a prompt begins with."""
        return list(self.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def piece(self, token: int) -> str:
        """A token as text."""
        return str(self.backend_tokenizer.decode([token], skip_special_tokens=False))


def plain_tokenizer(folder: Path) -> PlainTokenizer | None:
    """The tokenizer of a model folder; None where transformers might make another one of it.

    Raises InputError for one that `policy.model.load.load_tokenizer` refuses.
    """
    file = folder / "tokenizer.json"
    if not _is_whole(folder):
        return None
    check_vocabulary(file)
    try_file(file)
    from tokenizers import Tokenizer

    tokenizer: Any = PlainTokenizer(Tokenizer.from_file(str(file)), str(folder))
    try_loaded(tokenizer, str(folder))
    found: PlainTokenizer = tokenizer
    return found


def _is_whole(folder: Path) -> bool:
    """Whether tokenizer.json says everything; what cannot be read is left to transformers."""
    if any((folder / name).exists() for name in OTHER_FILES):
        return False
    try:
        config = read_json(folder / "config.json")
        settings = read_json(folder / "tokenizer_config.json")
        content = json.loads((folder / "tokenizer.json").read_bytes())
    except (InputError, OSError, ValueError, RecursionError):
        return False
    if not isinstance(content, dict) or config.get("model_type") not in TYPES:
        return False
    return (
        settings.get("tokenizer_class") == CLASS
        and settings.get("backend", "tokenizers") == "tokenizers"
        and settings.get("clean_up_tokenization_spaces") is False
        and type(settings.get("model_max_length")) in (int, float)
        and not set(settings) - {*NAMED, *HARMLESS}
        and content.get("truncation") is None
        and content.get("padding") is None
        and all(settings[name] in _special(content) for name in NAMED if name in settings)
    )


def _special(content: Mapping[str, Any]) -> list[Any]:
    """The special tokens that the file has already; others would be added."""
    added = content.get("added_tokens")
    tokens = added if isinstance(added, list) else []
    return [one.get("content") for one in tokens if isinstance(one, dict) and one.get("special")]
