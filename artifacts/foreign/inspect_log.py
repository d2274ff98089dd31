"""Logs of inspect_ai: `.eval` files, which are zip files of JSON, read without inspect_ai.

Format 2 is read, whether packed by deflate (to 2025) or by zstd.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from artifacts.datasets.rows import IntegerText
from artifacts.foreign.answers import (
    Answer,
    ForeignLog,
    content_logprobs,
    finish_of,
    last_question,
    message_text,
    own_score,
    shown,
)
from artifacts.foreign.zipped import Members
from schemas.errors import InputError

FORMAT, TOOL = "inspect", "inspect_ai"
NEWEST = 2  # of the log format
ENDING = ".eval"
HEADER, SAMPLES, ATTACHED = "header.json", "samples/", "attachment://"
FINISH: Mapping[str, str | None] = {
    "stop": "stop", "max_tokens": "length", "model_length": "length", "content_filter": "length",
    "unknown": None,
}  # fmt: skip
LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # correct, partial, incorrect, no answer


def recognise(path: Path, start: bytes) -> bool:
    """Whether a file that begins so is such a log."""
    return path.suffix.lower() == ENDING or start.startswith(b"PK\x03\x04")


def read(path: Path) -> ForeignLog:
    """Every sample of a log. InputError for a newer format, a damaged file, an unreadable row."""
    members = Members(path)
    if HEADER not in members.names:
        raise InputError(
            f"has no {HEADER}: the evaluation was cut off, or it is another kind of zip file",
            str(path),
            "finish it with `inspect eval-retry`",
        )
    header = _json(members, HEADER)
    version = header.get("version")
    if not isinstance(version, IntegerText) or not 1 <= int(version) <= NEWEST:
        raise InputError(
            f"is written in format {shown(version)} of inspect_ai's logs; up to {NEWEST} is read",
            str(path),
            "write it with an inspect_ai that writes that format",
        )
    made = _object(header.get("eval"))
    names = [name for name in members.names if name.startswith(SAMPLES)]
    model = made.get("model")
    answers = tuple(
        _answer(_json(members, name), f"{path}, {name}", model if isinstance(model, str) else "")
        for name in names
    )
    status, packages = header.get("status"), _object(made.get("packages"))
    tool = TOOL if TOOL in packages else next(iter(packages), TOOL)  # as threeloops, by export
    return ForeignLog(
        format=FORMAT,
        answers=answers,
        tool=tool,
        version=str(packages.get(tool, "")),
        unfinished="" if status == "success" else f"its status is {shown(status)}",
    )


def _answer(sample: dict[str, Any], where: str, model: str) -> Answer:
    output = _object(sample.get("output"))
    problem: dict[str, Any] = {
        "where": where,
        "ids": (str(sample["id"]),) if sample.get("id") is not None else (),
        "counted": isinstance(sample.get("id"), IntegerText),  # inspect counts where none is given
        "prompts": last_question(sample.get("input")),
        "place": _epoch(sample, where),
        "target": sample["target"] if isinstance(sample.get("target"), str) else None,
        "model": str(output.get("model") or model),
    }
    if sample.get("error") is not None:
        return Answer(**problem, text=None)
    choices = output.get("choices")
    if not isinstance(choices, list) or len(choices) != 1:
        count = len(choices) if isinstance(choices, list) else 0
        raise InputError(
            f"has {count} choices, and one is read", where, "sample with epochs, not num_choices"
        )
    choice = _object(choices[0])
    said = message_text(_object(choice.get("message")).get("content"), "the answer", where, "\n")
    if said.startswith(ATTACHED):
        kept = _object(sample.get("attachments")).get(said.removeprefix(ATTACHED))
        said = message_text(kept, "the attachment that holds the answer", where)
    return Answer(
        **problem,
        text=said,
        finish_reason=finish_of(choice.get("stop_reason"), FINISH, where),
        own_scores=dict(_scores(_object(sample.get("scores")))),
        **content_logprobs(choice.get("logprobs"), where),
    )


def _epoch(sample: dict[str, Any], where: str) -> int:
    epoch = sample.get("epoch", IntegerText(1))
    if not isinstance(epoch, IntegerText):
        raise InputError(f"the epoch is {shown(epoch)}, not a whole number", where)
    return int(epoch)


def _scores(recorded: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, score in recorded.items():
        value = _object(score).get("value")
        number = LETTERS.get(value) if type(value) is str else own_score(value)
        if number is not None:
            yield name, number


def _json(members: Members, name: str) -> dict[str, Any]:
    where = f"{members.path}, {name}"
    try:
        value = json.loads(members.read(name), parse_int=IntegerText)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON ({getattr(error, 'msg', error)})", where) from None
    if not isinstance(value, dict):
        raise InputError("is not a JSON object", where)
    return value


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
