"""A chat template is rendered where it can take neither much time nor much memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from transformers import PreTrainedTokenizerBase

from policy.limited import chat, process
from policy.limited.chat import MEMORY_BYTES, PROGRAM, ChatError, Fault, render, rendered
from policy.limited.chat_child import answer
from policy.limited.process import CHILD, LimitedProcess
from policy.model.load import load_tokenizer
from policy.model.template import get_template
from schemas.errors import InputError

MESSAGES = [{"role": "user", "content": "é?"}]
VARIABLES = {"eos_token": "<|end|>"}
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
    fault = fault_of(template)
    assert reason in fault.reason
    assert not fault.deliberate


def test_a_refusal_of_its_own_is_told_from_a_defect() -> None:
    fault = fault_of("{{ raise_exception('no system role') }}")
    assert (fault.reason, fault.deliberate) == ("no system role", True)


def test_memory_is_limited_also_where_the_system_does_not_limit_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limitless = tmp_path / "child.py"
    limitless.write_text(CHILD.read_text().replace("resource.setrlimit(", "print and ("))
    assert limitless.read_text() != CHILD.read_text()
    monkeypatch.setattr(process, "CHILD", limitless)
    template = "{% set a = messages[0].content * 2 * 10**8 %}" + ENDLESS
    renderer = LimitedProcess(PROGRAM, 100 * 2**20)
    with pytest.raises(ChatError) as caught:
        render(renderer, template, VARIABLES, [MESSAGES])
    assert caught.value.fault is chat.TOO_MUCH


def test_many_chats_are_rendered_by_one_process_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    template = "{{ messages[0].content }}{{ eos_token }}"
    chats = [[{"role": "user", "content": f"{n} \u2028\n{'é' * n * 40}"}] for n in range(600)]
    wanted = [f"{chat[0]['content']}<|end|>" for chat in chats]
    assert rendered(template, VARIABLES, chats[:3]) == wanted[:3]
    monkeypatch.setattr(
        "policy.limited.process.subprocess.Popen", lambda *_, **__: pytest.fail("another process")
    )
    assert rendered(template, VARIABLES, chats) == wanted


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(ENDLESS, "too long", marks=pytest.mark.slow),
        ("{{ 'a' * 10**9 }}", "too much memory"),
        ("{{ 'a' * 10**7 }}", "10,000,0.. characters"),
    ],
)
def test_a_template_that_turns_bad_for_a_later_question_is_ended_too(
    bad: str, reason: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    tokenizer.chat_template = (
        f"{{% if '9' in messages[-1].content %}}{bad}{{% endif %}}{{{{ messages[-1].content }}}}"
    )
    shown = get_template("zero_shot_chat@1")
    good = shown.encode(["1?"], tokenizer)
    started = time.process_time()
    with pytest.raises(InputError, match=reason):
        shown.encode([*["1?"] * 40, "9?"], tokenizer)
    with pytest.raises(InputError, match=reason):
        shown.render("9?", tokenizer)
    assert time.process_time() - started < 1, "it was not rendered here"
    assert shown.encode(["1?"], tokenizer) == good


def test_the_process_is_replaced_when_somebody_ends_it() -> None:
    renderer = LimitedProcess(PROGRAM, MEMORY_BYTES)
    assert render(renderer, "{{ messages[0].content }}", VARIABLES, [MESSAGES]) == ["é?"]
    child = renderer._child
    assert child is not None
    child.kill()
    child.wait()
    assert render(renderer, "{{ messages[0].content }}", VARIABLES, [MESSAGES]) == ["é?"]
    renderer.close()


def test_the_process_ends_with_the_one_that_started_it() -> None:
    code = (
        "import os, signal\n"
        "from policy.limited.chat import RENDERER, rendered\n"
        "rendered('x', {}, [[]])\n"
        "print(RENDERER._child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(done.stdout))


def test_a_fork_renders_in_a_process_of_its_own() -> None:
    code = (
        "import os\n"
        "from policy.limited.chat import rendered\n"
        "before = rendered('a', {}, [[]])\n"
        "if os.fork() == 0: print(rendered('b', {}, [[]]), flush=True)\n"
        "else: os.wait(); print(rendered('c', {}, [[]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("['b']\n['c']\n", "")


def fault_of(template: str) -> Fault:
    """Why a template cannot be rendered."""
    with pytest.raises(ChatError) as caught:
        rendered(template, VARIABLES, [MESSAGES])
    return caught.value.fault


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
        "tools": None,
        "documents": None,
        "add_generation_prompt": True,
    }
    asked = {
        "template": template,
        "variables": variables,
        "chats": [MESSAGES],
        "most_characters": 1000,
    }
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert answer(asked) == {"texts": [text]}


def test_the_program_imports_nothing_large() -> None:
    code = (
        f"import runpy, sys; runpy.run_path({str(PROGRAM)!r})['environment']();"
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
