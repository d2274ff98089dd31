"""A chat template is tried out where it can take neither much time nor much memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from policy.model import trial
from policy.model.load import load_tokenizer
from policy.model.template import get_template
from policy.model.trial import CHILD, fault_of
from policy.model.trial_child import answer
from schemas.errors import InputError

ASKED = {"messages": [{"role": "user", "content": "é?"}], "eos_token": "<|end|>"}
ENDLESS = "{% for a in range(99999) %}" * 4 + "{% endfor %}" * 4


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        pytest.param(ENDLESS, "it takes too long for a chat template", marks=pytest.mark.slow),
        ("{{ 'a' * 10**9 }}", "it needs too much memory"),
        ("{{ 'a' * 10**13 }}", "it needs too much memory"),
        ("{% set a = 'a' * 10**7 %}{{ a }}", "10,000,000 characters of one short question"),
        ("{% for a in range(10**9) %}{% endfor %}", "Range too big"),
        ("{% include 'other' %}", "no loader"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "recursion"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ 1 // 0 }}", "zero"),
        ("{{ nothing.at_all }}", "undefined"),
        ("{% if %}", "Expected an expression"),
        ("x" * 2_000_001, "more than 2,000,000 characters"),
    ],
)
def test_a_template_that_cannot_be_rendered_has_a_reason(template: str, reason: str) -> None:
    fault = fault_of(template, ASKED)
    assert fault is not None
    assert reason in fault.reason
    assert not fault.deliberate


def test_a_refusal_of_its_own_is_told_from_a_defect() -> None:
    fault = fault_of("{{ raise_exception('no system role') }}", ASKED)
    assert fault is not None
    assert (fault.reason, fault.deliberate) == ("no system role", True)


def test_memory_is_limited_also_where_the_system_does_not_limit_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limitless = tmp_path / "child.py"
    limitless.write_text(CHILD.read_text().replace("resource.setrlimit(", "print and ("))
    assert limitless.read_text() != CHILD.read_text()
    monkeypatch.setattr(trial, "CHILD", limitless)
    monkeypatch.setattr(trial, "MEMORY_BYTES", 100 * 2**20)
    template = "{% set a = messages[0].content * 2 * 10**8 %}" + ENDLESS
    assert fault_of(template, ASKED) is trial.TOO_MUCH


def test_a_pair_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fault_of("{{ eos_token }} tried once", ASKED) is None
    monkeypatch.setattr(
        "policy.model.trial.subprocess.Popen", lambda *_, **__: pytest.fail("tried again")
    )
    assert fault_of("{{ eos_token }} tried once", ASKED) is None


@pytest.mark.parametrize(
    "template",
    [
        "{% for message in messages %}\n  {{ message.content }}\n{% endfor %}{{ eos_token }}",
        "{{ messages | tojson }}{{ messages | tojson(indent=2) }}{{ strftime_now('%Y') }}",
        "{% generation %}\n{{ messages[0]['content'] }}{% endgeneration %}",
        "{% for a in range(9) %}{% if a == 3 %}{% break %}{% endif %}{{ a }}{% endfor %}",
        "{% if tools is none and documents is none and add_generation_prompt %}x{% endif %}",
    ],
)
def test_it_is_rendered_as_transformers_renders_it(
    template: str, tiny_folder: Callable[[str], Path]
) -> None:
    tokenizer = load_tokenizer(tiny_folder("llama"))
    tokenizer.chat_template = template
    variables = {
        **tokenizer.special_tokens_map,
        "messages": ASKED["messages"],
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
    }
    asked = {"template": template, "variables": variables, "most_characters": 1000}
    messages = [{"role": "user", "content": "é?"}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert answer(asked) == {"text": rendered}


def test_the_program_imports_nothing_large() -> None:
    code = (
        f"import runpy, sys; runpy.run_path({str(CHILD)!r})['environment']();"
        "print({'torch', 'transformers', 'numpy', 'policy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def tokenizer(tiny_folder: Callable[[str], Path]) -> PreTrainedTokenizerBase:
    """The tiny model's tokenizer, fresh, so that a test may change it."""
    return load_tokenizer(tiny_folder("llama"))


@pytest.mark.parametrize("template", ["{{ 'a' * 10**9 }}", "{% include 'x' %}"])
def test_a_prompt_is_refused_in_one_line_with_the_file_and_a_way_out(
    template: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = template
    started = time.process_time()
    with pytest.raises(InputError) as caught:
        get_template("few_shot_chat@1").encode(["1?"], tokenizer)
    assert time.process_time() - started < 1, "it was not rendered here"
    line = str(caught.value)
    assert line.startswith(
        f"{tokenizer.name_or_path}/chat_template.jinja: the model's chat template"
    )
    assert line.endswith("use --template few_shot_plain@1")
    assert "\n" not in line


def test_several_templates_without_a_default_are_refused(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer.chat_template = {"a": "x", "b": "y"}
    with pytest.raises(InputError, match="multiple chat templates"):
        get_template("few_shot_chat@1").render("1?", tokenizer)


def test_a_template_that_fails_for_one_question_alone_is_refused_then(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    tokenizer.chat_template = "{% if '9' in messages[-1].content %}{{ 1 // 0 }}{% endif %}x"
    get_template("few_shot_chat@1").render("1?", tokenizer)
    with pytest.raises(InputError, match="division or modulo by zero"):
        get_template("few_shot_chat@1").render("9?", tokenizer)
