"""The reader of a command line: words become a configuration that holds what they say."""

from __future__ import annotations

import contextlib
import io
import json
from argparse import Namespace
from decimal import Decimal
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from flows.cli.grammar.one_line_parser import OneLineParser
from flows.cli.options import NESTED, config_from
from flows.cli.parser import build_parser
from schemas.config import EvalConfig, LearningConfig, RunConfig, SelectionConfig
from schemas.errors import InputError
from tests.fuzz.room import Room

CONFIGURED: dict[str, type[RunConfig]] = {
    "demo": LearningConfig,
    "eval": EvalConfig,
    "learn": LearningConfig,
    "prompt": EvalConfig,
    "rescore": EvalConfig,
    "select": SelectionConfig,
    "tokens": EvalConfig,
}


@lru_cache(maxsize=1)
def parser() -> OneLineParser:
    """The program's own."""
    made = build_parser()
    assert isinstance(made, OneLineParser)
    return made


def command_line(content: bytes, room: Room) -> None:
    """Words as JSON; the values that are accepted are in the configuration."""
    try:
        words = json.loads(content)
    except (ValueError, RecursionError):
        words = None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InputError("no command line")  # which no shell can give
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        options = _options(words)
    if options is None:
        assert "usage: threeloops" in shown.getvalue()
        return
    if (kind := CONFIGURED.get(options.verb)) is not None:
        if "pick" in options:
            options.pick = tuple(dict.fromkeys(options.pick))
        config = config_from(kind, vars(options))
        _check(config, options)
        assert kind.model_validate_json(config.model_dump_json()) == config


def _options(words: list[str]) -> Namespace | None:
    """What was asked for; None where that is help."""
    try:
        return parser().parse_args(words)
    except SystemExit as end:
        if end.code != 0:
            raise
        return None


def _check(config: BaseModel, options: Namespace) -> None:
    for name in type(config).model_fields:
        value = getattr(config, name)
        if name in NESTED and value is not None:
            _check(value, options)
        elif name in options:
            assert _means(getattr(options, name), value), (name, getattr(options, name), value)


def _means(given: Any, value: Any) -> bool:
    """Whether a value is what was written."""
    if isinstance(given, str) and isinstance(value, int | float) and not isinstance(value, bool):
        written = given.strip().replace("_", "")
        return Decimal(written) == value if isinstance(value, int) else float(written) == value
    return bool(given == value)
