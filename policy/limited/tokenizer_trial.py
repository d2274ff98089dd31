"""What a tokenizer does is tried in a process of its own first, within limits of time and memory.

A tokenizer comes with a model. Its regular expressions can take hours for a short text, and they
run inside a library that not even Ctrl-C interrupts. One may be quick for one text and endless for
the next, so every prompt is encoded there before it is encoded here.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from policy.files.model_files import one_line
from policy.limited.process import LimitedProcess, MemoryLimitError, TimeLimitError, batches
from schemas.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PROGRAM = Path(__file__).with_name("tokenizer_child.py")
MEMORY_BYTES = 4 * 2**30  # one of 64 MB takes a half
# each is tens of times what a tokenizer takes
CPU_SECONDS, EACH_CPU_SECONDS, LOADED_BYTES_A_SECOND, CHARACTERS_A_SECOND = 2.0, 0.02, 2e6, 5e4
MOST_GROWTH = 200  # tokens of a byte, and characters of a token
MOST_ADDED = 100  # tokens that are put around a text
BATCH_CHARACTERS = 1_000_000
COPY_AGAIN = "copy the model's folder again, or take another model"
TEXTS = (
    "",
    "What is 8 + 35?\nFinal: 43\n",
    string.printable,
    "\u00e9\u00df\u4f60\u597d \U0001f642\u200d \ue000\ufb01\u0301 \u0627\u0644 \u0e01\u0e33",
    *(letter * 200 for letter in "a1 \n\u00e9\u4f60"),
    "ab 1, " * 40,
)

TRIAL = LimitedProcess(PROGRAM, MEMORY_BYTES)
_passed: set[str] = set()  # digests of files and of tokenizers that were tried
_keys: WeakKeyDictionary[PreTrainedTokenizerBase, str] = WeakKeyDictionary()


def try_file(file: Path) -> None:
    """InputError for a tokenizer.json that cannot be loaded and used within the limits."""
    content = file.read_bytes()
    key = hashlib.sha256(content).hexdigest()
    if key not in _passed:
        asked = {"key": key, "file": str(file)}
        answer = _ask(asked, TEXTS, str(file), whole=True, size=len(content))
        _passed.update((key, answer["digest"]))


def try_loaded(tokenizer: PreTrainedTokenizerBase, where: str) -> None:
    """The same for a loaded tokenizer, which may be another one than that of its file."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # written in Python, in transformers itself
        return
    with explaining_tokenizer(where):
        content = backend.to_str()
    key = hashlib.sha256(content.encode()).hexdigest()
    if key not in _passed:
        asked = {"key": key, "content": content}
        answer = _ask(asked, TEXTS, where, whole=True, size=len(content))
        _passed.update((key, answer["digest"]))
    _keys[tokenizer] = key


def try_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> None:
    """InputError for a tokenizer that cannot encode these texts within the limits."""
    where = str(tokenizer.name_or_path)
    if tokenizer not in _keys:
        try_loaded(tokenizer, where)
    if (key := _keys.get(tokenizer)) is None:
        return
    for batch in batches(texts, len, BATCH_CHARACTERS):
        answer = _ask({"key": key}, batch, where)
        if answer.get("missing"):  # another one was tried since, or the process was ended
            backend: Any = tokenizer
            content = backend.backend_tokenizer.to_str()
            _ask({"key": key, "content": content}, batch, where, size=len(content))


@contextmanager
def explaining_tokenizer(where: str) -> Iterator[None]:
    """Turn what tokenizers raises, panics of Rust too, into an InputError about the tokenizer."""
    try:
        yield
    except BaseException as error:
        if type(error) is not Exception and not is_panic(error):
            raise
        raise InputError(
            f"the tokenizer cannot be used ({one_line(error)})", where, COPY_AGAIN
        ) from None


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of Rust, which is no Exception; its class cannot be imported."""
    return type(error).__name__ == "PanicException"


def _ask(
    tokenizer: dict[str, str],
    texts: Sequence[str],
    where: str,
    *,
    whole: bool = False,
    size: int = 0,
) -> dict[str, Any]:
    """The child's answer about a tokenizer, of `size` bytes where it has to be loaded."""
    asked = {
        **tokenizer,
        "texts": texts,
        "whole": whole,
        "most_growth": MOST_GROWTH,
        "most_added": MOST_ADDED,
    }
    try:
        seconds = CPU_SECONDS + EACH_CPU_SECONDS * len(texts) + size / LOADED_BYTES_A_SECOND
        answer = TRIAL.ask(asked, seconds + sum(map(len, texts)) / CHARACTERS_A_SECOND)
    except TimeLimitError:
        reason = "it takes too long for a tokenizer"
    except MemoryLimitError:
        reason = "it needs too much memory for a tokenizer"
    else:
        if "error" not in answer:
            return answer
        reason = answer["error"]
    done = "loaded" if whole else "used"
    raise InputError(f"the tokenizer cannot be {done} ({reason})", where, COPY_AGAIN)
