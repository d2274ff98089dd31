"""A tokenizer that makes very long texts of short ones is refused before it is loaded."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from policy.files.vocabulary import check_vocabulary
from policy.model.load import load_tokenizer
from schemas.errors import InputError
from tests.policy.tokenizers import changed


def step(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def mapping(*texts: str) -> dict[str, Any]:
    content = (4).to_bytes(4, "little") + b"tree" + b"\0".join(t.encode() for t in texts)
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(content).decode()}


def untyped(one: dict[str, Any]) -> dict[str, Any]:
    """A step without its type, which tokenizers finds by what else is there."""
    return {name: value for name, value in one.items() if name != "type"}


def template(pieces: int, ids: int) -> dict[str, Any]:
    token = {"id": "[A]", "ids": [0] * ids, "tokens": ["a"] * ids}
    single = [{"SpecialToken": {"id": "[A]", "type_id": 0}}] * pieces
    return {"type": "TemplateProcessing", "single": single, "special_tokens": {"[A]": token}}


UNTYPED = untyped(step({"String": "a"}, "a" * 30))
TEN = step({"String": "a"}, "a" * 10)
SEVERAL = {"type": "Sequence", "normalizers": [TEN, {"type": "Sequence", "normalizers": [TEN] * 8}]}


@pytest.mark.parametrize(
    ("part", "steps", "reason"),
    [
        ("normalizer", SEVERAL, "its normalizer makes a text up to 1e+09 times as long"),
        ("normalizer", step({"Regex": ""}, "b" * 200), "up to 201 times"),
        ("normalizer", step({"String": ""}, "b" * 200), "up to 201 times"),
        ("normalizer", mapping("a", "é" * 300), "up to 300 times"),
        ("decoder", {"type": "Sequence", "decoders": [TEN] * 3}, "its decoder makes"),
        ("normalizer", {"normalizers": [UNTYPED] * 3}, "its normalizer makes a text up to 27,000"),
        ("decoder", {"decoders": [UNTYPED] * 3}, "its decoder makes a text up to 27,000 times"),
        ("normalizer", {"normalizers": [UNTYPED | {"type": "Lowercase"}] * 3}, "27,000 times"),
        ("normalizer", untyped(mapping("a", "é" * 300)), "up to 300 times"),
        ("normalizer", {"normalizers": [{"prepend": "a" * 20}] * 2}, "up to 441 times"),
        ("decoder", step({"Regex": "a"}, ""), "its decoder has a regular expression"),
        ("pre_tokenizer", {"pretokenizers": [{"type": "Digits"}] * 64}, "has 65 steps"),
        ("post_processor", template(3000, 3000), "puts 9,000,000 tokens around a text"),
        ("post_processor", untyped(template(3000, 3000)), "puts 9,000,000 tokens around a text"),
        ("post_processor", {"processors": [template(101, 0)]}, "puts 101 tokens around a text"),
    ],
)
def test_steps_that_multiply_a_text_are_refused_in_one_line(
    part: str, steps: dict[str, Any], reason: str, folder: Path
) -> None:
    file = changed(folder, **{part: steps})
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize(
    "steps",
    [
        None,
        {"type": "NFKC"},
        step({"String": " "}, "▁"),
        {"type": "Sequence", "normalizers": [mapping("a" * 18), step({"Regex": " {2,}"}, "▁")]},
        {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, "what", 5]},
        {"type": "Sequence", "normalizers": [untyped(step({"Regex": "x"}, "y")), {"type": "NFD"}]},
    ],
)
def test_what_real_tokenizers_do_is_accepted(steps: Any, folder: Path) -> None:
    check_vocabulary(changed(folder, normalizer=steps))


def test_what_real_tokenizers_put_around_a_text_is_accepted(folder: Path) -> None:
    for steps in (template(2, 1), {"type": "Sequence", "processors": [template(4, 1), {}]}):
        check_vocabulary(changed(folder, post_processor=steps))
    llama = [step({"String": "▁"}, " "), {"type": "Fuse"}, {"type": "Strip", "content": " "}]
    check_vocabulary(changed(folder, decoder={"type": "Sequence", "decoders": llama}))


def test_a_token_of_great_length_is_refused(folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    model["vocab"]["x" * 5000] = len(model["vocab"])
    with pytest.raises(InputError, match="a token of 5,000 characters"):
        check_vocabulary(changed(folder, model=model))
    pieces = {"type": "Unigram", "vocab": [["y" * 6000, 0.5]]}
    with pytest.raises(InputError, match="a token of 6,000 characters"):
        check_vocabulary(changed(folder, model=pieces))


def test_a_tokenizer_that_draws_at_random_is_refused(folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    check_vocabulary(changed(folder, model=model | {"dropout": 0.0}))
    with pytest.raises(InputError, match="cuts the same text into other tokens each time"):
        check_vocabulary(changed(folder, model=model | {"dropout": 0.1}))


def test_a_multitude_of_added_tokens_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="it adds 20,001 tokens"):
        check_vocabulary(changed(folder, added_tokens=[{"content": "a"}] * 20_001))


def test_what_is_no_tokenizer_is_left_to_whoever_loads_it(folder: Path) -> None:
    for content in ("[]", "{", '{"normalizer": 5, "model": [], "added_tokens": 1}'):
        (folder / "tokenizer.json").write_text(content)
        check_vocabulary(folder / "tokenizer.json")
    check_vocabulary(folder / "missing.json")
