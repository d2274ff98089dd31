"""A tokenizer is tried where it can take neither much time nor much memory, and cannot panic."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from policy.limited import tokenizer_trial
from policy.limited.process import LimitedProcess
from policy.limited.tokenizer_trial import (
    PROGRAM,
    explaining_tokenizer,
    try_file,
    try_loaded,
    try_texts,
)
from policy.model.load import decode_completion, load_tokenizer
from policy.model.template import get_template
from schemas.errors import InputError
from tests.policy.limited.hostile import outcomes
from tests.policy.tokenizers import changed

PANICS = "(?:a|aa|aaa|[ab])+$c"  # it tries every way to cut a row of letters
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
UNDEFINED = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "[X]", "type_id": 0}}],
    "pair": [],
    "special_tokens": {},
}


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def steps(*patterns: str) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": [*map(split, patterns), BYTES]}


def ids(pieces: int) -> dict[str, Any]:
    """A template that puts so many tokens before a text, for each of so many pieces."""
    piece = {"SpecialToken": {"id": "<|end|>", "type_id": 0}}
    token = {"id": "<|end|>", "ids": [5] * pieces, "tokens": ["a"] * pieces}
    single = [*[piece] * pieces, {"Sequence": {"id": "A", "type_id": 0}}]
    tokens = {"<|end|>": token}
    return {
        "type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens,
    }  # fmt: skip


SLOW = "(?:a|aa|aaa|[ab]){1,10}$c"  # just below what the library allows: 10 ms a letter


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"post_processor": UNDEFINED}, "PanicException"),
        ({"pre_tokenizer": steps(PANICS)}, "retry-limit-in-match over"),
        pytest.param(
            {"pre_tokenizer": steps(*[SLOW] * 60)}, "it takes too long", marks=pytest.mark.slow
        ),
        ({"post_processor": ids(20)}, "it makes 400 tokens of a text of 0 characters"),
        ({"post_processor": ids(500)}, "it makes 250,000 tokens of a text of 0 characters"),
        ({"normalizer": {"type": "Nothing"}}, "Exception"),
        ({"pre_tokenizer": split("(")}, "Exception"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_refused_in_one_line(
    parts: dict[str, Any], reason: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = changed(folder, **parts)
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        try_file(file)
    assert time.process_time() - started < 1, "it was not tried here"
    line = str(caught.value)
    assert line.startswith(f"{file}: the tokenizer cannot be loaded (")
    assert reason in line
    assert "\n" not in line
    assert capfd.readouterr() == ("", ""), "a panic writes to stderr"


def test_a_folder_with_a_hostile_tokenizer_ends_no_command(folder: Path, tmp_path: Path) -> None:
    """As a command uses it; each of these was a traceback, or took gigabytes or hours."""
    hostile: list[dict[str, Any]] = [
        {"post_processor": UNDEFINED},
        {"pre_tokenizer": steps(PANICS)},
        {"post_processor": ids(3000)},
    ]
    folders = []
    for number, parts in enumerate(hostile):
        folders.append(Path(shutil.copytree(folder, tmp_path / str(number))))
        changed(folders[-1], **parts)
    for found, place in zip(outcomes(folders), folders, strict=True):
        assert found.line is not None
        assert found.line.startswith(str(place))
        assert found.bytes < 2**29


def test_a_tokenizer_that_is_bad_for_a_later_prompt_alone_is_refused_then(folder: Path) -> None:
    changed(folder, pre_tokenizer=steps(f"9\\?{PANICS}"))
    tokenizer = load_tokenizer(folder)
    shown = get_template("few_shot_plain@1")
    good = shown.encode(["1?"], tokenizer)
    started = time.process_time()
    with pytest.raises(InputError, match="retry-limit-in-match over") as caught:
        shown.encode(["1?", f"9?{'a' * 50}"], tokenizer)
    assert time.process_time() - started < 1, "it was not tried here"
    assert str(caught.value).startswith(f"{folder}: the tokenizer cannot be used")
    assert shown.encode(["1?"], tokenizer) == good


def test_a_tokenizer_is_tried_once_and_kept_for_the_texts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    class Watched(LimitedProcess):
        def ask(self, question: Any, seconds: float) -> dict[str, Any]:
            asked.append(question)
            return super().ask(question, seconds)

    monkeypatch.setattr(tokenizer_trial, "TRIAL", Watched(PROGRAM, 2**31))
    monkeypatch.setattr(tokenizer_trial, "_passed", set())
    first, again = load_tokenizer(folder), load_tokenizer(folder)
    assert [set(one) >= {"file"} for one in asked] == [True]
    for tokenizer in (first, again):
        try_texts(tokenizer, ["a", "b"])
    assert sum("content" in one for one in asked) == 1, "it was tried under its file's digest"
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    changed(other, normalizer={"type": "NFC"})
    try_texts(load_tokenizer(other), ["a"])
    before = len(asked)
    try_texts(first, ["a"])
    assert ["content" in one for one in asked[before:]] == [False, True], "another was loaded since"
    tokenizer_trial.TRIAL.close()


def test_what_is_loaded_is_tried_too_where_it_is_not_that_of_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some classes take the vocabulary alone, and bring steps of their own."""
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text())
    tried: list[Sequence[str]] = []
    ask = tokenizer_trial._ask

    def watched(tokenizer: dict[str, str], *rest: Any, **more: Any) -> dict[str, Any]:
        tried.append(sorted(tokenizer))
        return ask(tokenizer, *rest, **more)

    monkeypatch.setattr(tokenizer_trial, "_ask", watched)
    monkeypatch.setattr(tokenizer_trial, "_passed", set())
    load_tokenizer(folder)
    assert tried == [["file", "key"]]
    file.write_text(json.dumps(config | {"tokenizer_class": "LlamaTokenizer"}))
    load_tokenizer(folder)
    assert tried[1:] == [["content", "key"]]


def test_a_character_without_a_token_is_no_fault_of_a_tokenizer(folder: Path) -> None:
    words = {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "?"}
    changed(folder, model=words, pre_tokenizer={"type": "Whitespace"}, added_tokens=[])
    tokenizer = load_tokenizer(folder)
    assert tokenizer("a b", add_special_tokens=False).input_ids == [0, 1]
    with pytest.raises(InputError, match=r"cannot be used \(Exception: WordLevel error"):
        get_template("few_shot_plain@1").encode(["c"], tokenizer)


class PanicException(BaseException):
    """As Rust's, which cannot be imported."""


def test_a_panic_here_is_one_line_and_nothing_else_is_caught(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(folder)

    def panic(*arguments: Any, **options: Any) -> str:
        raise PanicException("index out of bounds\nat 3")

    monkeypatch.setattr(tokenizer, "decode", panic)
    with pytest.raises(InputError, match="PanicException: index out of bounds at 3"):
        decode_completion(tokenizer, [1, 2], [0])
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", panic)
    with pytest.raises(InputError, match=r"cannot be loaded \(PanicException"):
        load_tokenizer(folder)
    for error in (KeyboardInterrupt, ValueError, SystemExit):
        with pytest.raises(error), explaining_tokenizer("x"):
            raise error


def test_a_tokenizer_written_in_python_is_not_tried() -> None:
    class Plain:
        name_or_path = "x"

    plain: Any = Plain()
    try_loaded(plain, "x")
    try_texts(plain, ["a"])


def test_the_program_imports_nothing_large() -> None:
    code = (
        f"import runpy, sys; answer = runpy.run_path({str(PROGRAM)!r})['answer'];"
        "print(answer({'key': 'a', 'texts': [], 'whole': False}),"
        "{'torch', 'transformers', 'numpy', 'policy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'missing': True} set()"
