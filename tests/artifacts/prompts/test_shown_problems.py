"""A template must not show what is measured."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from artifacts.prompts.shown_problems import refuse_shown_problems
from policy.model.template import TEMPLATES, PromptTemplate
from schemas.errors import InputError

MINE = PromptTemplate("mine", 1, "Be exact.", "{question}", (("1 + 1?", "Final: 2"),), chat=True)


def measured(*prompts: str) -> pa.Table:
    return pa.table({"problem_id": [f"p{n}" for n in range(len(prompts))], "prompt": list(prompts)})


@pytest.mark.parametrize(
    ("changed", "place"),
    [
        ({"examples": (("1?", "1"), ("What is 2 + 3?", "Final: 5"))}, "examples.2.question"),
        ({"examples": (("what  is\n2 + 3?", "Final: 5"),)}, "examples.1.question"),
        ({"examples": (("Question: What is 2 + 3?", "5"),)}, "examples.1.question"),
        ({"examples": (("1?", "As in\nWhat is 2 + 3?\nFinal: 5"),)}, "examples.1.answer"),
        ({"system": "Example.\nQ: What is 2 + 3?\nA: 5"}, "system"),
        ({"instruction": "What is 2 + 3?\nFinal: 5\n{question}"}, "instruction"),
    ],
)
def test_a_measured_problem_that_is_shown(changed: dict[str, object], place: str) -> None:
    template = replace(MINE, **changed)  # type: ignore[arg-type]
    with pytest.raises(InputError) as raised:
        refuse_shown_problems(template, measured("9?", "What is 2 + 3?"), "arithmetic holdout")
    assert str(raised.value).startswith(f"template mine@1: {place}: shows problem 'p1'")
    assert "measured on arithmetic holdout" in str(raised.value)


def test_other_problems_may_be_shown() -> None:
    refuse_shown_problems(MINE, measured("1 + 11?", "1 + 1", "Be exact", "1"), "x")
    # a built-in template is the same for every dataset
    built_in = TEMPLATES["few_shot_chat@1"]
    refuse_shown_problems(built_in, measured(built_in.examples[0][0]), "x")
