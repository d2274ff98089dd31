"""The worker of `math_verify@1` in this process, with a package that is a stand-in."""

from __future__ import annotations

import importlib
import io
import json
import os
import resource
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scorers import math_verify_worker


class Integer(int):
    """Stands in for sympy's integers."""


def parse(text: str, **_: Any) -> list[object]:
    if text == "raise":
        raise ValueError("cannot be parsed")
    print("a library that prints")
    return [Integer(text) if text.lstrip("-").isdigit() else text] if text else []


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the worker on lines of input; the objects that it wrote to its standard output."""
    library = SimpleNamespace(
        parse=parse, verify=lambda gold, found, **_: str(gold) == str(found[0]).strip("$")
    )
    modules = {"math_verify": library, "sympy": SimpleNamespace(Integer=Integer)}
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: None)
    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", lambda name: modules.get(name) or real(name))
    limit = sys.get_int_max_str_digits()

    def run(*lines: dict[str, str]) -> list[dict[str, Any]]:
        file = tmp_path / "stdout"
        monkeypatch.setattr(os, "dup", lambda _: os.open(file, os.O_WRONLY | os.O_CREAT))
        asked = "".join(json.dumps(line) + "\n" for line in lines)
        monkeypatch.setattr(sys, "stdin", io.StringIO(asked))
        monkeypatch.setattr(sys, "stdout", sys.stdout)
        math_verify_worker.main()
        return [json.loads(line) for line in file.read_text().splitlines()]

    yield run
    sys.set_int_max_str_digits(limit)


def test_it_says_that_it_is_ready_and_then_answers_line_by_line(
    answers: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ready, equal, latex, other, nothing = answers(
        {"text": "12", "expected": "12"},
        {"text": "$12$", "expected": "12"},
        {"text": "13", "expected": "12"},
        {"text": "", "expected": "12"},
    )
    assert ready == {"ready": True}
    assert equal == {"verdict": "equal", "parsed": "12"}
    assert latex == {"verdict": "equal", "parsed": None}, "what was found is no integer"
    assert other == {"verdict": "not_equal", "parsed": "13"}
    assert nothing == {"verdict": "nothing_found", "parsed": None}
    assert "a library that prints" in capsys.readouterr().err, "and not among the answers"


def test_an_error_of_the_package_is_an_answer_and_the_next_line_is_read(answers: Any) -> None:
    _, error, after = answers({"text": "raise", "expected": "1"}, {"text": "1", "expected": "1"})
    assert error == {"verdict": "error", "parsed": None, "error": "ValueError"}
    assert after["verdict"] == "equal"


def test_integers_of_any_length_are_read(answers: Any) -> None:
    long = "9" * 5000
    assert answers({"text": long, "expected": long})[1] == {"verdict": "equal", "parsed": long}
