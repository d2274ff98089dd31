"""A run's configuration as a YAML file: read, checked, and written with its descriptions.

The same mapping is the parameter `config` of a Prefect deployment.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode

from artifacts.text.visible import printable
from flows.cli.options import NESTED, config_from, told
from flows.cli.terminal import Terminal
from flows.preflight import with_answer_tokens
from schemas.config import RunConfig
from schemas.errors import InputError
from schemas.files import exists, is_file
from schemas.outputs import CONFIGS, ConfigOutput

MOST_BYTES = 2**20


def read_config(path: Path, kind: type[RunConfig]) -> dict[str, Any]:
    """What a file sets, by the names of options: settings of a group stand beside the others.

    InputError names the file and the setting where one is unknown, doubled or not allowed.
    """
    where = str(path)
    found = _mapping(_text(path), where)
    try:
        kind.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        what, remedy = told(first)
        if first["type"] == "extra_forbidden":
            what, remedy = "there is no such setting", "--print-config shows all that there are"
        raise InputError(what, f"{where}: {name}", remedy) from None
    flat: dict[str, Any] = {}
    for name, value in found.items():
        flat |= value if name in NESTED else {name: value}
    return flat


def with_file(options: Namespace) -> Namespace:
    """The options of a verb with what its file sets, where they do not say it themselves."""
    if "config" not in options:
        return options
    if getattr(options, "resume", None) is not None:
        raise InputError(
            "a resumed run goes on as it was set", "--config with --resume", "leave --config out"
        )
    given = {name: value for name, value in vars(options).items() if name != "config"}
    return Namespace(**read_config(options.config, CONFIGS[options.verb]) | given)


def written(config: BaseModel) -> str:
    """A whole configuration as YAML, each setting with what it means."""
    return "\n".join(_lines(config, "")) + "\n"


def print_config(options: Namespace, terminal: Terminal) -> ConfigOutput:
    """Print the configuration that a verb would run with."""
    config = with_answer_tokens(config_from(CONFIGS[options.verb], vars(options)))
    console = terminal.out
    for line in written(config).splitlines():
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
    return ConfigOutput(config=config.model_dump(mode="json"))


def _lines(config: BaseModel, indent: str) -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield f"{indent}{name}:  # {field.description}"
            yield from _lines(value, f"{indent}  ")
            continue
        plain = config.model_dump(mode="json", include={name})[name]
        yield f"{indent}{name}: {_shown(plain)}  # {field.description}"


def _shown(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False)
    # YAML takes 1e-05 for a text
    return shown.replace("e", ".0e") if isinstance(value, float) and "." not in shown else shown


def _text(path: Path) -> str:
    if exists(path) and not is_file(path):
        raise InputError("is no plain file", str(path), "name a YAML file")
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise InputError("is larger than 1 MB", str(path), "name a configuration")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    except ValueError:
        raise InputError("is not UTF-8 text", str(path), "save the file as UTF-8") from None


def _mapping(text: str, where: str) -> dict[str, Any]:
    try:
        found = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error) or "nested too deep"
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise InputError(f"is not YAML ({' '.join(reason.split())})", place) from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError("holds no settings", where, "write one `name: value` a line")
    return found


class _PlainLoader(yaml.SafeLoader):
    """Plain values alone: no aliases, which can grow without end, and no name twice."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="an alias (*name)", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for name, _ in node.value:
            if not isinstance(name, ScalarNode) or name.value in seen:
                problem = "a name that is no text"
                if isinstance(name, ScalarNode):
                    problem = f"{name.value} is set twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=name.start_mark)
            seen.add(name.value)
        return super().construct_mapping(node, deep)
