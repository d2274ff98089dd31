"""A template's file: YAML and TOML say the same, and every fault is one line with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.prompts.template_file import (
    MOST_BYTES,
    as_yaml,
    names_file,
    read_template,
    template_of,
)
from policy.model.template import TEMPLATES, get_template
from schemas.errors import InputError
from schemas.own_template import PLACE, OwnTemplate, WorkedExample
from schemas.plain_yaml import yaml_mapping

YAML = """name: brief
version: 1
form: chat
system: Be exact.
instruction: |-
  {question}
  One line.
examples:
  - question: What is 8 + 35?
    answer: "Final: 43"
"""
TOML = '''name = "brief"
version = 1
form = "chat"
system = "Be exact."
instruction = """{question}
One line."""
[[examples]]
question = "What is 8 + 35?"
answer = "Final: 43"
'''
NO_CONTROLS = st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=(*"{}%", PLACE))
NUMBERS = st.sampled_from(("1e5", "010", "0x10", "1_000", "12:30", ".5", "-7", "yes", "2026-01-02"))
TEXTS = NUMBERS | st.text(NO_CONTROLS | st.sampled_from("\n\t :#'\"-"), min_size=1, max_size=40)


def file(folder: Path, text: str | bytes, name: str = "brief.yaml") -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_yaml_and_toml_say_the_same(tmp_path: Path) -> None:
    one = read_template(file(tmp_path, YAML))
    assert one == read_template(file(tmp_path, TOML, "brief.toml"))
    assert one == read_template(file(tmp_path, YAML, "brief.YML"))
    template = get_template(one)
    assert (template.id, template.chat, template.system) == ("brief@1", True, "Be exact.")
    assert template.examples == (("What is 8 + 35?", "Final: 43"),)
    assert template.messages("1 + 1?")[-1]["content"] == "1 + 1?\nOne line."


def test_layout_and_comments_do_not_change_the_digest_and_every_text_does(tmp_path: Path) -> None:
    digest = template_of(file(tmp_path, YAML)).digest
    other = "# mine\n" + YAML.replace('"Final: 43"', "'Final: 43'   # right")
    assert template_of(file(tmp_path, other)).digest == digest
    for before, after in (
        ("brief", "short"),
        ("version: 1", "version: 2"),
        ("chat", "plain"),
        ("exact", "brief"),
        ("One line", "A line"),
        ("8 + 35", "8 + 36"),
        ("43", "44"),
        ("  {question}\n  One line.", "  One line.\n  {question}"),
    ):
        assert before in YAML
        changed = template_of(file(tmp_path, YAML.replace(before, after)))
        assert changed.digest != digest, after
    # what the model is not shown
    longer = template_of(file(tmp_path, YAML + "answer_tokens: 99\nreasons: true\n"))
    assert (longer.digest, longer.answer_tokens, longer.reasons) == (digest, 99, True)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["brief.yaml: says nothing"]),
        ("- a\n- b\n", ["brief.yaml: holds no settings"]),
        (YAML + "name: x\n", ["line 11", "name is set twice"]),
        (YAML.replace("Be exact.", "&a x") + "answer_tokens: *a\n", ["line 11", "alias"]),
        (YAML + "a: [", ["brief.yaml, line 1", "is not YAML"]),
        ("[" * 5000, ["is not YAML", "nested too deep"]),
        (YAML.replace("exact", "ex\x07act"), ["line 4", "the control character U+0007"]),
        (b"\xff\xfe\xff", ["is not UTF-8 text; save the file as UTF-8"]),
        (b"\0" * 10, ["the control character U+0000"]),
        ("#" * (MOST_BYTES + 1), ["is larger than 512 KB"]),
        (YAML + "sistem: x\n", ["brief.yaml: sistem: there is no such field", "instruction"]),
        (
            YAML.replace("    answer:", "    anser:"),
            ["brief.yaml: examples.1.answer: is missing"],
        ),
        (
            YAML + "  - question: 1?\n    answer: 1\n",
            ["brief.yaml: examples.2.answer: is not text; write it in quotes"],
        ),
        (
            YAML.replace("version: 1", "version: 010"),
            ["brief.yaml: version: is not a whole number"],
        ),
        (YAML + "answer_tokens: 0x10\n", ["answer_tokens: is not a whole number"]),
        (
            YAML + '  - question: 1?\n    answer: "1"\n    why: x\n',
            ["examples.2.why: there is no such field; there are question, answer"],
        ),
        (
            YAML.replace("brief", "few_shot_chat"),
            ["brief.yaml: name: a built-in template has the name few_shot_chat; take another"],
        ),
        (YAML.replace("{question}", "x"), ["brief.yaml: instruction: has no {question}"]),
        (YAML.replace("One line", "{answer}"), ["instruction: holds {answer}, which would show"]),
    ],
)
def test_a_fault_is_one_line_with_file_and_field(
    text: str | bytes, parts: list[str], tmp_path: Path
) -> None:
    with pytest.raises(InputError) as raised:
        read_template(file(tmp_path, text))
    said = str(raised.value)
    assert len(said.splitlines()) == 1
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name = ", "is not TOML"),
        (TOML + "name = 'x'\n", "examples.1.name: there is no such field"),
        ("a = " + "[" * 5000, "is not TOML"),
        (TOML.replace("exact", "ex\x07act"), "is not TOML (Illegal character"),
        (TOML.replace("version = 1", "version = 2026-01-01"), "version: is not a whole number"),
    ],
)
def test_a_fault_of_toml_too(text: str, part: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read_template(file(tmp_path, text, "brief.toml"))
    assert part in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read \(No such file"):
        read_template(str(tmp_path / "none.yaml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match="is no plain file; name a prompt template"):
        read_template(str(tmp_path / "folder.toml"))
    assert not names_file("few_shot_chat@1")
    with pytest.raises(InputError, match=r"no prompt template mine\.txt; .*\.yaml or \.toml"):
        template_of("mine.txt")


@settings(deadline=None)
@given(
    st.builds(
        OwnTemplate,
        name=st.just("brief"),
        version=st.integers(1, 9),
        form=st.sampled_from(("chat", "plain")),
        system=st.none() | TEXTS,
        instruction=st.builds(lambda a, b: f"{a}{{question}}{b}", TEXTS, TEXTS),
        examples=st.lists(st.builds(WorkedExample, question=TEXTS, answer=TEXTS), max_size=3),
    )
)
def test_what_is_kept_is_read_as_it_was(said: OwnTemplate) -> None:
    template = get_template(said)
    kept = as_yaml(template)
    again = OwnTemplate.model_validate(yaml_mapping(kept, "kept"))
    assert again == said
    assert get_template(again).digest == template.digest
    assert kept.startswith(f"# {template.identity}\n")


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda template: template.name)
def test_a_built_in_template_under_another_name_is_a_start_for_ones_own(
    template: object, tmp_path: Path
) -> None:
    built_in = TEMPLATES[str(template.id)]  # type: ignore[attr-defined]
    text = as_yaml(built_in).replace(f"name: {built_in.name}", "name: mine")
    mine = template_of(file(tmp_path, text))
    for shown in ("messages", "plain_text"):
        words = ("2 + 2?",) if shown == "messages" else ("2 + 2?", "<end>")
        assert getattr(mine, shown)(*words) == getattr(built_in, shown)(*words)
    assert (mine.answer_tokens, mine.reasons) == (built_in.answer_tokens, built_in.reasons)
    assert (built_in.built_in, mine.built_in) == (True, False)
