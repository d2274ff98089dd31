"""Whether the steps of a tokenizer.json can be those of a tokenizer, before it is believed.

A tokenizer replaces parts of a text before and after it cuts it into tokens. A few replacements in
a row, each of them small, make a text of any size of a short one.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.errors import InputError

MOST_GROWTH = 200  # times; NFKC makes 18 characters of one, and others double some of them
MOST_ADDED = 20_000  # tokens beside the vocabulary; each costs time at the start
LONGEST_TOKEN = 4096  # characters; real ones have less than 300
MOST_STEPS = 64  # of each kind, for a text; real ones have less than ten
MOST_AROUND = 100  # tokens that are put around a text
INNER = ("normalizers", "pretokenizers", "processors", "decoders")
UNICODE_FORMS = {"NFKC": 18, "NFKD": 18, "NFC": 3, "NFD": 4, "Nmt": 1, "BertNormalizer": 4}
LENGTH_BYTES = 4  # a map of characters begins with the length of its index
COPY_AGAIN = "copy the model's folder again, or take another model"


def check_vocabulary(file: Path) -> None:
    """InputError for a tokenizer.json that makes very long texts of short ones, or is random."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return  # whoever loads it gives the reason
    if not isinstance(content, dict):
        return
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        if fault := _fault(part, list(_steps(content.get(part)))):
            raise InputError(f"its {part} {fault}", str(file), COPY_AGAIN)
    model = content.get("model")
    if isinstance(model, dict) and model.get("dropout"):
        raise InputError(
            "its dropout cuts the same text into other tokens each time",
            str(file),
            "set it to null",
        )
    added = content.get("added_tokens")
    if isinstance(added, list) and len(added) > MOST_ADDED:
        raise InputError(f"it adds {len(added):,} tokens", str(file), COPY_AGAIN)
    longest = max((len(token) for token in _tokens(content)), default=0)
    if longest > LONGEST_TOKEN:
        raise InputError(f"it has a token of {longest:,} characters", str(file), COPY_AGAIN)


def _fault(part: str, steps: list[dict[str, Any]]) -> str:
    """What is wrong with the steps of a part; empty where nothing is."""
    if len(steps) > MOST_STEPS:
        return f"has {len(steps):,} steps"
    if part == "decoder" and any(_is_regex(step.get("pattern")) for step in steps):
        return "has a regular expression, which may take hours for a text"
    growth = math.prod(map(_growth, steps))
    if growth > MOST_GROWTH:
        times = f"{growth:,.0f}" if growth < 1e9 else f"{growth:.0e}"
        return f"makes a text up to {times} times as long"
    around = sum(map(_around, steps))
    return f"puts {around:,} tokens around a text" if around > MOST_AROUND else ""


def _steps(part: Any) -> Iterator[dict[str, Any]]:
    """The steps of a part, those inside of sequences too."""
    waiting = [part]
    while waiting:
        step = waiting.pop()
        if isinstance(step, dict):
            yield step
            for inner in INNER:
                if isinstance(step.get(inner), list):
                    waiting += step[inner]


def _growth(step: dict[str, Any]) -> float:
    """How many times as long a text may be after a step.

    The type may be left out, and is then found by what else is there. So it is never relied on.
    """
    growth: float = UNICODE_FORMS.get(str(step.get("type")), 1)
    if "pattern" in step and "content" in step:
        growth = max(growth, _replaced(step["pattern"], str(step["content"])))
    if "precompiled_charsmap" in step:
        growth = max(growth, _longest_in_map(step["precompiled_charsmap"]))
    # of an empty text: once, not each character
    return max(growth, 1 + len(str(step.get("prepend", ""))))


def _around(step: dict[str, Any]) -> int:
    """How many tokens a template puts around a text: each of its pieces may stand for several."""
    pieces = max(len(_listed(step, name)) for name in ("single", "pair"))
    named = step.get("special_tokens")
    tokens = named.values() if isinstance(named, dict) else named if isinstance(named, list) else ()
    longest = [len(_listed(token, "ids")) for token in tokens] or [0]
    return pieces * max(1, *longest)  # a piece may also be the text once more


def _listed(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _is_regex(pattern: Any) -> bool:
    return isinstance(pattern, dict) and "Regex" in pattern


def _replaced(pattern: Any, content: str) -> float:
    plain = pattern.get("String") if isinstance(pattern, dict) else None
    if isinstance(plain, str) and plain:
        return max(1.0, len(content) / len(plain))
    return 1.0 + len(content)  # a regular expression also matches between two characters


def _longest_in_map(encoded: Any) -> float:
    """The longest text that a map of characters puts in place of one; see SentencePiece."""
    try:
        content = base64.b64decode(encoded or "")
    except (binascii.Error, TypeError, ValueError):
        return 1
    start = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
    texts = content[start:].split(b"\0")
    return max(1, *(len(text.decode("utf-8", "replace")) for text in texts))


def _tokens(content: dict[str, Any]) -> Iterator[str]:
    model = content.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    for token in vocabulary if isinstance(vocabulary, dict | list) else ():
        text = token[0] if isinstance(token, list) and token else token
        if isinstance(text, str):
            yield text
    added = content.get("added_tokens")
    for one in added if isinstance(added, list) else ():
        if isinstance(one, dict) and isinstance(one.get("content"), str):
            yield one["content"]
