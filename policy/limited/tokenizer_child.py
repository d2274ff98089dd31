"""Load a tokenizer and encode and decode texts with it, as a program of `process_child.py`.

It imports tokenizers alone, so that it starts in a moment, and nothing of this project, so that it
can be started by its path.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # read when tokenizers is imported
loaded: dict[str, Any] = {}  # the newest one, by its key


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The digest of the tokenizer, which could do everything; or the reason why it could not.

    `missing` where it has neither been kept nor come with the question.
    """
    try:
        tokenizer = _tokenizer(asked)
        if tokenizer is None:
            return {"missing": True}
        for text in asked["texts"]:
            if reason := _tried(tokenizer, text, asked):
                return {"error": reason}
        written = tokenizer.to_str() if asked["whole"] else ""
        return {"digest": hashlib.sha256(written.encode()).hexdigest()}
    except MemoryError:
        return {"error": "it needs too much memory"}
    except BaseException as error:  # a panic of Rust is no Exception
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())[:200]}


def _tokenizer(asked: dict[str, Any]) -> Any:
    from tokenizers import Tokenizer

    key = asked["key"]
    if key not in loaded:
        if "file" in asked:
            made = Tokenizer.from_file(asked["file"])
        elif "content" in asked:
            made = Tokenizer.from_str(asked["content"])
        else:
            return None
        loaded.clear()
        loaded[key] = made
    return loaded[key]


def _tried(tokenizer: Any, text: str, asked: dict[str, Any]) -> str:
    """What is wrong with what it makes of a text; empty where nothing is."""
    try:
        return _fault(tokenizer, text, asked)
    except MemoryError:
        raise
    except Exception:  # it has no token for a character, which no prompt may need
        return ""
    finally:
        tokenizer.encode_special_tokens = False


def _fault(tokenizer: Any, text: str, asked: dict[str, Any]) -> str:
    most = asked["most_growth"] * (len(text.encode("utf-8", "replace")) + asked["most_added"])
    ways = ((True, False),) if asked["whole"] else ()
    for special, literal in (*ways, (False, False), (False, True)):
        tokenizer.encode_special_tokens = literal
        ids = tokenizer.encode(text, add_special_tokens=special).ids
        if len(ids) > (asked["most_added"] if not text else most):
            return f"it makes {len(ids):,} tokens of a text of {len(text):,} characters"
    again = tokenizer.decode(ids, skip_special_tokens=False) if asked["whole"] else ""
    return f"it makes {len(again):,} characters of {len(ids):,} tokens" if len(again) > most else ""
