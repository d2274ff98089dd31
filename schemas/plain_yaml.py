"""YAML that a person wrote: plain values alone, in a file within limits, refused with its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode
from yaml.resolver import Resolver

from schemas.errors import InputError
from schemas.files import exists, is_file

# what is a number without quotes: YAML 1.1 reads 010 as 8 and 1:30 as 90, and 1e-5 as text
NUMBERS = {
    "int": r"[-+]?(?:0|[1-9][0-9]*)",
    "float": r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
}
MOST_DIGITS = 400  # more than any number here may have
PLAIN = ("null", "bool", "int", "float", "str", "seq", "map")
TAG = "tag:yaml.org,2002:"


def text_of(path: Path, most_bytes: int, meant: str) -> str:
    """The text of a file; InputError where there is none, or one that cannot be `meant`."""
    where = str(path)
    if exists(path) and not is_file(path):
        raise InputError("is no plain file", where, f"name {meant}")
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise InputError(f"is larger than {_size(most_bytes)}", where, f"name {meant}")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where) from None
    except ValueError:
        raise InputError("is not UTF-8 text", where, "save the file as UTF-8") from None


def yaml_mapping(text: str, where: str) -> dict[str, Any]:
    """The names and values of a YAML text, none where it is empty; InputError with the line."""
    try:
        found = yaml.load(text, Loader=_PlainLoader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"holds the control character U+{ord(text[error.position]):04X}"
        raise InputError(f"is not YAML ({what})", f"{where}, line {line}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error)
        if isinstance(error, RecursionError):
            reason = "nested too deep"
        place = f"{where}, line {mark.line + 1}" if mark else where
        raise InputError(f"is not YAML ({' '.join(reason.split())})", place) from None
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise InputError("holds no settings", where, "write one `name: value` a line")
    return found


def _size(count: int) -> str:
    return f"{count // 2**20} MB" if count >= 2**20 else f"{count // 2**10} KB"


class _PlainLoader(yaml.SafeLoader):
    """Plain values alone: no aliases, which can grow without end, and no name twice.

    A whole number is its decimal digits; what YAML 1.1 alone takes for a number or a date is text.
    """

    yaml_constructors: ClassVar[dict[str | None, Any]] = {
        tag: made
        for tag, made in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag in [f"{TAG}{kind}" for kind in PLAIN]
    }

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

    def construct_number(self, node: ScalarNode) -> int | float:
        kind = node.tag.removeprefix(TAG)
        problem = ""
        if not re.fullmatch("|".join(NUMBERS.values()), node.value, re.ASCII):
            problem = f"{node.value[:40]} is no number"
        elif len(node.value) > MOST_DIGITS:
            problem = f"a number of more than {MOST_DIGITS} digits"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return int(node.value) if kind == "int" else float(node.value)


def read_numbers(of: type[Resolver]) -> None:
    """Have a loader or dumper take for a number without quotes what is one here."""
    for kind, form in NUMBERS.items():
        whole = re.compile(rf"(?:{form})\Z", re.ASCII)
        of.add_implicit_resolver(f"{TAG}{kind}", whole, list("-+.0123456789"))


_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in forms if tag in (f"{TAG}null", f"{TAG}bool")]
    for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
read_numbers(_PlainLoader)
for _kind in NUMBERS:
    _PlainLoader.add_constructor(f"{TAG}{_kind}", _PlainLoader.construct_number)
