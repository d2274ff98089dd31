"""Command lines made from the parser itself, so that an option that is added is tried too."""

from __future__ import annotations

import argparse
import json

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from pydantic import BaseModel

from schemas.config import LearningConfig, LearningSettings, SamplingSettings, SelectionConfig
from tests.fuzz.inputs.models import PARTS
from tests.fuzz.inputs.text import ANY_TEXT, ODD_JSON, damaged, encoded, record
from tests.fuzz.readers.options import parser

VALUES = (
    "0", "1", "2", "20", "-1", "+3", "1.5", "1e3", "1e400", "nan", "inf", "-inf", "1_000", " 7 ",
    "０", "0x10", "9" * 400, "9" * 5000, "", " ", "-", "--", "--json", "abc", "true", "None",
    "\0", "\n", "\udcff", "\u202e", "a" * 5000, "final_int@1", "final_int@", "final_int@2",
    "os:path", "nothing.here:x", ":", "a:", "few_shot_chat@1", "arithmetic", "train", "holdout",
    "dev", "1000000000", "9223372036854775807", "9223372036854775808", "0.0", "1e-320", "5e-324",
    "100", "4096", "4097", "@file", "%s", "{}", "../x.jsonl", "x.parquet", "127.0.0.1",
)  # fmt: skip


def verbs() -> dict[str, argparse.ArgumentParser]:
    """Each verb's own parser."""
    (made,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(made.choices)


def value_of(action: argparse.Action) -> SearchStrategy[str]:
    """A value for an option: often one that it takes."""
    odd = st.sampled_from(VALUES + PARTS) | ANY_TEXT
    if action.choices:
        return st.sampled_from([*map(str, action.choices)]) | odd
    return odd | st.integers(-3, 200).map(str) | st.floats(0, 2).map(str)


@st.composite
def words(draw: DrawFn) -> list[str]:
    """A verb with options, most of them once and with a value."""
    verb = draw(st.sampled_from(sorted(verbs())))
    actions = [
        a for a in verbs()[verb]._actions if a.dest != "help" or draw(st.integers(0, 99)) == 0
    ]
    said = [] if draw(st.integers(0, 49)) == 0 else [verb]
    for action in actions:
        if not action.option_strings and draw(st.integers(0, 9)):
            said.append(draw(value_of(action)))
    optional = [action for action in actions if action.option_strings]
    for action in draw(st.lists(st.sampled_from(optional), max_size=4)):
        flag = action.option_strings[0]
        if draw(st.integers(0, 19)) == 0:
            flag = flag[: draw(st.integers(2, len(flag)))]
        if action.nargs == 0:
            said.append(flag)
        elif draw(st.booleans()):
            said += [flag, draw(value_of(action))]
        else:
            said.append(f"{flag}={draw(value_of(action))}")
    if draw(st.integers(0, 29)) == 0:
        said.insert(draw(st.integers(0, len(said))), draw(st.sampled_from(VALUES)))
    return said


def command_line() -> SearchStrategy[bytes]:
    return words().map(lambda said: json.dumps(said).encode())


@st.composite
def _configuration(draw: DrawFn) -> bytes:
    """A whole configuration in which a few settings are odd."""
    kinds: tuple[type[BaseModel], ...] = (LearningConfig, SelectionConfig)
    kind = draw(st.sampled_from(kinds))
    content = kind().model_dump(mode="json")
    text = json.dumps(content)
    parts: tuple[type[BaseModel], ...] = (kind, LearningSettings, SamplingSettings)
    for part in parts:
        for name in draw(st.lists(st.sampled_from(sorted(part.model_fields)), max_size=2)):
            before = f'"{name}": {json.dumps(content.get(name))}'
            text = text.replace(before, f'"{name}": {draw(ODD_JSON)}', 1)
    made = draw(encoded(st.just(text)))
    return draw(damaged(made)) if draw(st.integers(0, 9)) == 0 else made


RESULT = {
    "format": st.sampled_from(("2", "3", "1", "null", '"3"', "3.0")),
    "loop": st.sampled_from(('"A"', '"B"', '"C"', '"ABC"', "[]", "{}", "null")),
    "run_id": st.just('"0"'),
    **dict.fromkeys(("metrics", "config", "tables", "secret"), ODD_JSON),
    # a key of the store
    "kind": st.sampled_from(('"problems"', '"x"')),
    "digest": st.just('"0"'),
    "rows": st.just("1"),
    # what `up` leaves
    "prefect": st.just('"http://127.0.0.1:1/api"'),
    "mlflow": st.just('"x"'),
    # a checkpoint
    "files": record({"a": ODD_JSON, "a\0": st.just('"0"'), "/dev/zero": st.just('"0"')}),
}


def record_file() -> SearchStrategy[bytes]:
    """What is kept with a run, or something like it."""
    return _configuration() | encoded(record(RESULT))
