"""A run's configuration as a YAML file: read, checked, and written with its descriptions.

The same mapping is the parameter `config` of a Prefect deployment.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from artifacts.text.visible import printable
from flows.cli.options import FIXED_BY_REPLAY, NESTED, config_from, defaults
from flows.cli.terminal import Terminal
from flows.preflight import with_answer_tokens
from schemas.config import RunConfig
from schemas.errors import InputError
from schemas.faults import place_of, told
from schemas.outputs import CONFIGS, ConfigOutput
from schemas.plain_yaml import text_of, yaml_mapping

MOST_BYTES = 2**20


def read_config(path: Path, kind: type[RunConfig]) -> dict[str, Any]:
    """What a file sets, by the names of options: settings of a group stand beside the others.

    InputError names the file and the setting where one is unknown, doubled or not allowed.
    """
    where = str(path)
    found = yaml_mapping(text_of(path, MOST_BYTES, "a YAML file"), where)
    try:
        kind.model_validate(found)
        kind.model_validate(_tuples(found), strict=True)  # a number in quotes is a text
    except ValidationError as error:
        first = error.errors()[0]
        name = place_of(first)
        what, remedy = told(first)
        if first["type"] == "extra_forbidden":
            what, remedy = "there is no such setting", _belongs(first["loc"], kind)
        raise InputError(what, f"{where}: {name}", remedy) from None
    flat: dict[str, Any] = {}
    for name, value in found.items():
        flat |= (value or {}) if name in NESTED else {name: value}
    return flat


def _belongs(place: tuple[int | str, ...], kind: type[RunConfig]) -> str:
    """Where a name that is not known where it stands would be one."""
    name = str(place[-1])
    if name == "base_url":
        return "an address is in no file; give it as --base-url"
    if len(place) == 1:
        groups = [group for group in NESTED if group in kind.model_fields]
        if found := [group for group in groups if name in NESTED[group].model_fields]:
            return f"it belongs into the group {found[0]}: {found[0]}.{name}"
    elif name in kind.model_fields:
        return f"{name} belongs into no group"
    return "--print-config shows all that there are"


def with_file(options: Namespace) -> Namespace:
    """The options of a verb with what its file sets, where they do not say it themselves."""
    if "config" not in options:
        return options
    if getattr(options, "resume", None) is not None:
        raise InputError(
            "a resumed run goes on as it was set", "--config with --resume", "leave --config out"
        )
    given = {name: value for name, value in vars(options).items() if name != "config"}
    kind = CONFIGS[options.verb]
    of_file = _without_nothing(read_config(options.config, kind), kind)
    if "completions" in of_file or "completions" in given:
        # a whole file names what stored completions have settled too: as it is by default
        usual = defaults(kind, FIXED_BY_REPLAY)
        of_file = {n: v for n, v in of_file.items() if n not in usual or v != usual[n]}
    return Namespace(**of_file | given)


def _without_nothing(settings: dict[str, Any], kind: type[RunConfig]) -> dict[str, Any]:
    """Settings without those that are null, and are so by default: verbs ask what was named."""
    usual = defaults(kind, kind.model_fields)
    return {n: v for n, v in settings.items() if v is not None or usual.get(n) is not None}


def written(config: BaseModel, left_out: Container[str] = ()) -> str:
    """A whole configuration as YAML, each setting with what it means; some are left out."""
    return "\n".join(_lines(config, "", left_out)) + "\n"


def print_config(options: Namespace, terminal: Terminal) -> ConfigOutput:
    """Print the configuration that a verb would run with."""
    config = with_answer_tokens(config_from(CONFIGS[options.verb], vars(options)))
    # of a replay only what was given, since stored completions have settled it
    replayed = getattr(config, "completions", None) is not None
    left_out = {*FIXED_BY_REPLAY, "samples"} - config.model_fields_set if replayed else set()
    console, text = terminal.out, written(config, left_out)
    for line in text.splitlines():
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    # read back, since a record would leave out what is off
    return ConfigOutput(config=yaml_mapping(text, "--print-config"))


def _tuples(value: Any) -> Any:
    """A value with its lists as tuples, which they are in a configuration."""
    if isinstance(value, dict):
        return {name: _tuples(one) for name, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _lines(config: BaseModel, indent: str, left_out: Container[str] = ()) -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if field.exclude or name in left_out:  # what is never recorded is not written either
            continue
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:  # {field.description}"
            yield from _lines(value, f"{indent}  ")
            continue
        plain = config.model_dump(mode="json", include={name}).get(name, value)
        yield f"{indent}{name}: {_shown(plain)}  # {field.description}"


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    # YAML takes 1e-05 for a text
    return shown.replace("e", ".0e") if isinstance(value, float) and "." not in shown else shown
