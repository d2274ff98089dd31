"""The reader of a prompt template of one's own: what it accepts is shown as it is written."""

from __future__ import annotations

import re

from artifacts.prompts.template_file import as_yaml, read_template
from policy.model.template import TEMPLATES, get_template
from schemas.own_template import PLACEHOLDER, OwnTemplate
from schemas.plain_yaml import yaml_mapping
from tests.fuzz.room import Room

QUESTION = "1 + 1?"
LATEX = re.compile(r"\\[A-Za-z]+\{+answer\}")


def template_yaml(content: bytes, room: Room) -> None:
    """A template as YAML."""
    _check(read_template(str(room.file("own.yaml", content))))


def template_toml(content: bytes, room: Room) -> None:
    """A template as TOML."""
    _check(read_template(str(room.file("own.toml", content))))


def _check(said: OwnTemplate) -> None:
    template = get_template(said)
    assert said.name not in {built_in.name for built_in in TEMPLATES.values()}
    asked = said.instruction.replace(PLACEHOLDER, QUESTION)
    chat = template.messages(QUESTION)
    assert chat[-1] == {"role": "user", "content": asked}
    assert len(chat) == 1 + 2 * len(said.examples) + (said.system is not None)
    assert template.plain_text(QUESTION, "\n").endswith(f"{asked}\n")
    for text in said.texts():
        assert "{answer}" not in LATEX.sub("", text)
        assert not set(text) & {"\0", "\x1b", "\r", "\x7f", "\ue000"}
    kept = OwnTemplate.model_validate(yaml_mapping(as_yaml(template), "kept"))
    assert kept == said
    assert get_template(kept).digest == template.digest
