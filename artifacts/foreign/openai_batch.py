"""Output of OpenAI's batches, and of servers that write the same: JSON lines, one a request.

The request's `custom_id` is the problem's id, or `ID#K` for the K-th request of a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from artifacts.datasets.rows import IntegerText, jsonl_objects
from artifacts.foreign.answers import (
    Answer,
    ForeignLog,
    content_logprobs,
    finish_of,
    logprobs_of,
    message_text,
    shown,
)
from schemas.errors import InputError

FORMAT = "openai-batch"
FINISH: Mapping[str, str | None] = {"stop": "stop", "length": "length", "content_filter": "length"}
REPEATED = re.compile(r"(.+)#(\d{1,9})", re.DOTALL)
MOST_CHOICES = 4096
OK = "200"


def recognise(row: Mapping[str, Any]) -> bool:
    """Whether the first row of a file is a batch's."""
    return "custom_id" in row and "response" in row


def read(path: Path) -> ForeignLog:
    """Every choice of every request. InputError names the row that cannot be used."""
    answers: list[Answer] = []
    for number, row in jsonl_objects(path):
        where = f"{path}, row {number}"
        if not recognise(row):
            raise InputError("custom_id or response is missing", where)
        answers += _answers(row, where)
    return ForeignLog(FORMAT, tuple(answers))


def _answers(row: Mapping[str, Any], where: str) -> Iterator[Answer]:
    name = row["custom_id"]
    if not isinstance(name, str):
        raise InputError(f"custom_id is {shown(name)}, not text", where)
    repeated = REPEATED.fullmatch(name)
    ids = (str(name), repeated[1]) if repeated else (str(name),)
    turn = int(repeated[2]) * MOST_CHOICES if repeated else 0
    response = row["response"] if isinstance(row["response"], dict) else {}
    if row.get("error") is not None or str(response.get("status_code")) != OK:
        yield Answer(where=where, text=None, ids=ids, place=turn)
        return
    body = response["body"] if isinstance(response.get("body"), dict) else {}
    choices = body.get("choices")
    if not isinstance(choices, list) or not 0 < len(choices) <= MOST_CHOICES:
        raise InputError(
            "its body has no choices",
            where,
            "send the batch to /v1/chat/completions or /v1/completions",
        )
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("index"), IntegerText):
            raise InputError("a choice has no index", where)
        yield Answer(
            where=where,
            ids=ids,
            place=turn + int(choice["index"]),
            finish_reason=finish_of(choice.get("finish_reason"), FINISH, where),
            model=str(body.get("model") or ""),
            **_said(choice, where),
        )


def _said(choice: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The text of a choice and its log-probabilities, of a chat or of a plain completion."""
    recorded = choice.get("logprobs")
    if "text" in choice:
        values = recorded.get("token_logprobs") if isinstance(recorded, dict) else None
        found = logprobs_of(values if isinstance(values, list) else None, where)
        return {"text": message_text(choice["text"], "the text", where)} | found
    message = choice.get("message")
    if not isinstance(message, dict):
        raise InputError("a choice has neither message nor text", where)
    said = message.get("content")
    if said is None:  # a refusal is what the model said instead
        said = message.get("refusal")
    return {"text": message_text(said, "the content", where)} | content_logprobs(recorded, where)
