"""A template of one's own says everything itself, and nothing of what it must not."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.config import EvalConfig, LearningConfig
from schemas.faults import place_of, told
from schemas.own_template import MOST_CHARACTERS, OwnTemplate

RIGHT: dict[str, Any] = {
    "name": "brief",
    "version": 1,
    "form": "chat",
    "instruction": "{question}\nOne line.",
    "examples": [{"question": "8 + 35?", "answer": "Final: 43"}],
}


def fault(**changed: Any) -> tuple[str, str]:
    """Where a template is wrong, and in which words."""
    with pytest.raises(ValidationError) as raised:
        OwnTemplate.model_validate(RIGHT | changed)
    first = raised.value.errors()[0]
    return place_of(first), told(first)[0]


def example(question: str = "1 + 1?", answer: str = "Final: 2") -> dict[str, Any]:
    return {
        "examples": [{"question": "8?", "answer": "8"}, {"question": question, "answer": answer}]
    }


@pytest.mark.parametrize(
    ("changed", "place", "words"),
    [
        ({"instruction": "Answer: {answer}"}, "instruction", "show the expected answer"),
        ({"instruction": "{question} {{ expected_answer }}"}, "instruction", "show the expected"),
        ({"instruction": "{question} {row.answer}"}, "instruction", "holds {row.answer}"),
        ({"instruction": "{question} {problem['x']}"}, "instruction", "nothing but {question}"),
        ({"instruction": "{question} {solution!r:>5}"}, "instruction", "show the expected answer"),
        ({"instruction": "{question} %(target)s"}, "instruction", "show the expected answer"),
        ({"instruction": "{Question}"}, "instruction", "nothing but {question} is filled in"),
        ({"instruction": "{{question}}"}, "instruction", "nothing but {question} is filled in"),
        ({"instruction": "Solve this."}, "instruction", "has no {question}"),
        ({"instruction": "{question} {question}"}, "instruction", "has {question} 2 times"),
        ({"system": "The answer is {label}."}, "system", "show the expected answer"),
        ({"system": "Solve {question}"}, "system", "belongs into the instruction alone"),
        ({"system": ""}, "system", "at least 1 character"),
        (example(answer="Final: {answer}"), "examples.2.answer", "show the expected answer"),
        (example(question="{gold}?"), "examples.2.question", "show the expected answer"),
        (example(question="{question}"), "examples.2.question", "the instruction alone"),
        (example(question=""), "examples.2.question", "at least 1 character"),
        ({"examples": [{"question": "1?"}]}, "examples.1.answer", "is missing"),
        ({"examples": [["1?", "1"]]}, "examples.1", "list of names"),
        ({"examples": "x"}, "examples", "is not a list"),
        (example(answer="\a"), "examples.2.answer", "the control character U+0007 as character 1"),
        ({"system": "a\rb"}, "system", "the control character U+000D as character 2"),
        ({"instruction": "{question}\ue000"}, "instruction", "the control character U+E000"),
        ({"instruction": "{question}\ud800"}, "instruction", "not UTF-8 text"),
        ({"instruction": 5}, "instruction", "is not text"),
        ({"version": "1"}, "version", "is not a whole number"),
        ({"version": True}, "version", "is not a whole number"),
        ({"version": 1.0}, "version", "is not a whole number"),
        ({"version": 0}, "version", "is less than 1"),
        ({"reasons": "yes"}, "reasons", "is neither true nor false"),
        ({"answer_tokens": 5000}, "answer_tokens", "is more than 4096"),
        ({"form": "Chat"}, "form", "'chat' or 'plain'"),
        ({"name": "My Prompt"}, "name", "[a-z0-9_.-]"),
        ({"name": "brief\n"}, "name", "[a-z0-9_.-]"),
        ({"name": "a" * 65}, "name", "at most 64 characters"),
        ({"sistem": "x"}, "sistem", "not permitted"),
        ({"system": "x" * MOST_CHARACTERS}, "", "holds more than 65,536 characters of text"),
    ],
)
def test_a_fault_is_told_with_its_place(changed: dict[str, Any], place: str, words: str) -> None:
    found, said = fault(**changed)
    assert found == place
    assert words in said


@pytest.mark.parametrize("name", ["name", "version", "form", "instruction"])
def test_what_a_template_must_say(name: str) -> None:
    with pytest.raises(ValidationError) as raised:
        OwnTemplate.model_validate({key: value for key, value in RIGHT.items() if key != name})
    (error,) = raised.value.errors()
    assert (place_of(error), told(error)[0]) == (name, "is missing")


@pytest.mark.parametrize(
    "text",
    [r"\boxed{answer}", r"\text{result}", "{1, 2}", "{}", '{"answer": 1}', "{ }", "set {a, b}"],
)
def test_braces_in_which_nothing_would_be_filled_are_text(text: str) -> None:
    said = OwnTemplate.model_validate(RIGHT | {"instruction": f"{{question}} {text}"})
    assert said.instruction.endswith(text)


def test_worked_examples_may_have_names_in_braces() -> None:
    said = OwnTemplate.model_validate(RIGHT | example(question=r"Let {x} be 2."))
    assert said.examples[1].question == "Let {x} be 2."


@pytest.mark.parametrize("part", ["{", "{a", "{a:", "\\a", "}", "{a.", "%(", "{ "])
def test_many_braces_take_no_time(part: str) -> None:
    began = time.process_time()
    with pytest.raises(ValidationError):
        OwnTemplate.model_validate(RIGHT | {"instruction": part * 200_000})
    assert time.process_time() - began < 20  # seconds; quadratic work would take hours


def test_a_configuration_has_a_name_or_a_template_and_says_which_is_wrong() -> None:
    said = OwnTemplate.model_validate(RIGHT)
    config = EvalConfig(template=said)
    assert EvalConfig.model_validate(config.model_dump(mode="json")) == config
    assert EvalConfig.model_validate_json(config.model_dump_json()) == config
    assert LearningConfig(template=said).evaluation().template == said
    assert EvalConfig(template="brief.yaml").template == "brief.yaml"
    for given, place, words in (
        (5, "template", "is not text"),
        (["x"], "template", "is not text"),
        (RIGHT | {"version": 0}, "template.version", "is less than 1"),
        (RIGHT | example(answer="{answer}"), "template.examples.2.answer", "expected answer"),
    ):
        with pytest.raises(ValidationError) as raised:
            EvalConfig.model_validate({"template": given})
        (error,) = raised.value.errors()
        assert place_of(error) == place
        assert words in told(error)[0]
