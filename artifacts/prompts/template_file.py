"""A prompt template as a file, YAML or TOML: read within limits, and written for keeping."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from policy.model.template import PromptTemplate, get_template
from schemas.errors import InputError
from schemas.faults import place_of, told
from schemas.files import ending, of_user
from schemas.own_template import OwnTemplate
from schemas.plain_yaml import read_numbers, text_of, yaml_mapping

MOST_BYTES = 2**19
KEPT = "template.yaml"  # among a run's artifacts


def names_file(template: str | OwnTemplate) -> bool:
    """Whether a configuration names a file as its template, by the ending."""
    return isinstance(template, str) and ending(template) in READERS


def read_template(name: str) -> OwnTemplate:
    """What a file says; InputError with the file and the field for the first fault in it."""
    path = of_user(name)
    text = text_of(path, MOST_BYTES, "a prompt template")
    found = READERS[ending(name)](text, name)
    if not found:
        raise InputError("says nothing", name, "give it name, version, form and instruction")
    try:
        said = OwnTemplate.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        what, remedy = told(first)
        if first["type"] == "extra_forbidden":
            what, remedy = "there is no such field", f"there are {', '.join(_fields(first['loc']))}"
        place = place_of(first)
        raise InputError(what, f"{name}: {place}" if place else name, remedy) from None
    try:
        get_template(said)
    except InputError as error:
        raise InputError(error.what, f"{name}: name", error.remedy) from None
    return said


def template_of(template: str | OwnTemplate) -> PromptTemplate:
    """The template that a configuration means, whether by name, as a file or as written."""
    if isinstance(template, str) and names_file(template):
        return get_template(read_template(template))
    return get_template(template)


def as_yaml(template: PromptTemplate) -> str:
    """A template as a file would say it, under a line with its name and digest."""
    said = template.written().model_dump(mode="json", exclude_defaults=True)
    text = yaml.dump(said, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20)
    return f"# {template.identity}\n{text}"


def _fields(place: tuple[str | int, ...]) -> list[str]:
    """The fields that there are where one is not known."""
    return ["question", "answer"] if len(place) > 1 else list(OwnTemplate.model_fields)


def _toml_mapping(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, RecursionError):
            reason = "nested too deep"
        raise InputError(f"is not TOML ({reason})", where) from None


READERS: Mapping[str, Callable[[str, str], dict[str, Any]]] = {
    ".yaml": yaml_mapping,
    ".yml": yaml_mapping,
    ".toml": _toml_mapping,
}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, so that a kept template reads as it was written."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
read_numbers(_Dumper)
