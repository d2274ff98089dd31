"""Command-line options made from the configurations, so that each is described once."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from schemas.config import Columns, LearningSettings, SamplingSettings
from schemas.errors import InputError
from schemas.faults import told
from schemas.files import source_of
from schemas.server import ServerSettings, StepSampling

C = TypeVar("C", bound=BaseModel)
# settings inside a configuration, given on the command line without their outer name
NESTED: Mapping[str, type[BaseModel]] = {
    "sampling": SamplingSettings,
    "columns": Columns,
    "learning": LearningSettings,
    "server": ServerSettings,
    "sampler": StepSampling,
}
LONGEST_CHOICES = 45  # characters; what is longer makes the usage wider than a terminal
SHORTER = {"max_kl_nats": "max-kl"}
# what stored completions fix already
FIXED_BY_REPLAY = (
    "model", "dataset", "split", "seed", "template", "shard_size", "device", "precision",
    "sampling", "columns", "server",
)  # fmt: skip
OF_A_FILE = ("dataset", "split", "columns")  # what a file of answers does not say


def add_options(
    parser: argparse.ArgumentParser, config: type[BaseModel], names: Iterable[str]
) -> None:
    """Add one option for each named field; a nested group adds one for each of its own."""
    for name in names:
        if name in NESTED:
            add_options(parser, NESTED[name], NESTED[name].model_fields)
            continue
        field = config.model_fields[name]
        if field.annotation is bool:
            option, about = f"--{name.replace('_', '-')}", field.description
            parser.add_argument(
                option, dest=name, default=argparse.SUPPRESS, action="store_true", help=about
            )
            continue
        choices = _choices(field.annotation)
        about = field.description or ""
        listed = ", ".join(choices or ())
        if long := len(listed) > LONGEST_CHOICES:
            about = f"{about}: {listed}"
        parser.add_argument(
            flag(name),
            dest=name,
            default=argparse.SUPPRESS,
            metavar=None if choices and not long else _metavar(name),
            choices=choices,
            action="append" if name == "pick" else "store",
            help=_help(about, field.default),
        )


def config_from(config: type[C], given: Mapping[str, object]) -> C:
    """The configuration with what was given, everything else at its default.

    Raises InputError naming the option whose value cannot be used.
    """
    values: dict[str, object] = {}
    for name in config.model_fields:
        if name in NESTED:
            of_group = {k: given[k] for k in NESTED[name].model_fields if k in given}
            if of_group or config.model_fields[name].default is not None:
                values[name] = of_group
        elif name in given:
            values[name] = given[name]
    try:
        return config.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = next(str(part) for part in reversed(first["loc"]) if isinstance(part, str))
        what, remedy = told(first)
        raise InputError(what, f"{flag(option)} {first['input']}", remedy) from None


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """Add the options that read a configuration from a file, and print the whole of it."""
    parser.add_argument(
        "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE.yaml",
        help="read settings from a file; options given here override it",
    )  # fmt: skip
    parser.add_argument(
        "--print-config", default=argparse.SUPPRESS, action="store_true",
        help="print the whole configuration as YAML, and run nothing",
    )  # fmt: skip


def whole_number(text: str) -> int:
    """An argument that must be a whole number, for options that no configuration has."""
    if not re.fullmatch(r"[+-]?\d{1,9}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number below a billion")
    return int(text)


def number(text: str) -> float:
    """An argument that must be a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def refuse_with_replay(given: Mapping[str, object]) -> None:
    """InputError for an option that stored completions have settled long ago.

    A file of answers does not say which problems it answers; a run and a table of ours do.
    """
    for name in FIXED_BY_REPLAY:
        if name in OF_A_FILE and source_of(str(given["completions"])) == "answers":
            continue
        for option in NESTED[name].model_fields if name in NESTED else (name,):
            if option in given:
                shown = flag(option)
                raise InputError(
                    "it was settled when the completions were made",
                    f"{shown} with --completions",
                    f"leave {shown} out",
                )


def defaults(config: type[BaseModel], names: Iterable[str]) -> dict[str, object]:
    """What the named fields are by default, those of a group by their own names."""
    found: dict[str, object] = {}
    for name in names:
        if name in NESTED:
            found |= defaults(NESTED[name], NESTED[name].model_fields)
        elif name in config.model_fields:
            found[name] = config.model_fields[name].get_default(call_default_factory=True)
    return found


def flag(name: str) -> str:
    """The option that sets a field."""
    return f"--{SHORTER.get(name, name.replace('_', '-'))}"


def _choices(annotation: Any) -> list[str] | None:
    values = [value for value in get_args(annotation) if isinstance(value, str)]
    inner = [found for part in get_args(annotation) for found in _choices(part) or ()]
    return values or inner or None


def _metavar(name: str) -> str:
    return {
        "model": "MODEL", "dataset": "DATASET", "split": "SPLIT", "completions": "RUN|FILE",
        "template": "NAME@V|FILE", "scorer": "NAME@V", "register_as": "NAME",
        "train_split": "SPLIT",
        "max_kl_nats": "NATS", "max_minutes": "M", "baseline": "RULE", "answer_pattern": "REGEX",
        "split_by_hash": "80/10/10", "prompt_column": "NAME", "answer_column": "NAME",
        "served_model": "NAME", "adapter_folder": "FOLDER",
        "base_url": "URL", "tokenizer": "FOLDER", "extra_body": "JSON",
        "id_column": "NAME", "family_column": "NAME", "split_column": "NAME",
    }.get(name, "N")  # fmt: skip


def _help(description: str, default: Any) -> str:
    shown = "" if default is None or isinstance(default, tuple) else f"default {default}"
    parts = [part for part in (description, shown) if part]
    return "; ".join(parts).replace("%", "%%")
