"""The one form that every foreign log is read into, and the rules that its readers share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from artifacts.datasets.rows import IntegerText
from schemas.errors import InputError
from schemas.imported import ImportedFrom, OwnScore


@dataclass(frozen=True)
class Answer:
    """One answer as another program recorded it.

    - `where`: file and row, for errors.
    - `ids` may be its problem's id and `prompts` may hold its problem's text, likeliest first.
    - `counted`: its id is a whole number, which the program may have counted by itself.
    - `place`: which of its problem's answers it is; only the order counts.
    - `text` is None where the program recorded a failure in place of an answer.
    - `finish_reason`: `stop` or `length`, None where it was not recorded.
    - `logprobs`: of its tokens in nats, [T]; None where they were not recorded. `sum_logprob` and
      `tokens` are their sum and number, which alone may be known.
    - `target`: the right answer by that program; `own_scores` what it said of this answer.
    """

    where: str
    text: str | None
    finish_reason: str | None = None
    ids: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    counted: bool = False
    place: int = 0
    logprobs: tuple[float, ...] | None = None
    sum_logprob: float | None = None
    tokens: int | None = None
    target: str | None = None
    own_scores: Mapping[str, float] = field(default_factory=dict)
    model: str = ""


@dataclass(frozen=True)
class ForeignLog:
    """A whole log. `unfinished` says why not all of it may be there, empty where it is whole."""

    format: str
    answers: tuple[Answer, ...]
    tool: str = ""
    version: str = ""
    unfinished: str = ""

    def described(self) -> ImportedFrom:
        """What is said of the log beside its rates."""
        there = [one for one in self.answers if one.text is not None]
        scores: dict[str, list[float]] = {}
        for one in there:
            for name, value in one.own_scores.items():
                scores.setdefault(name, []).append(value)
        return ImportedFrom(
            format=self.format,
            tool=self.tool,
            version=self.version,
            model=next((one.model for one in there if one.model), ""),
            answers=len(there),
            own_scores={
                name: OwnScore(mean=math.fsum(values) / len(values), rows=len(values))
                for name, values in scores.items()
            },
            finish_unknown=sum(one.finish_reason is None for one in there),
            with_logprobs=sum(one.sum_logprob is not None for one in there),
            failed=len(self.answers) - len(there),
        )


def refuse_mixed_models(log: ForeignLog, path: str) -> None:
    """InputError where more than one model answered: a rate is one policy's."""
    first: dict[str, str] = {}
    for one in log.answers:
        if one.model and one.text is not None:
            first.setdefault(one.model, one.where)
    if len(first) > 1:
        (model, _), (other, where) = list(first.items())[:2]
        raise InputError(
            f"was answered by {other}, and rows before it by {model}",
            where,
            f"split {path} into one file a model",
        )


def text_of(value: Any, what: str, where: str) -> str:
    """A text; half of a surrogate pair is kept as its escape, because Arrow holds UTF-8 alone."""
    if type(value) is not str:
        raise InputError(f"{what} is {shown(value)}, not text", where)
    return value.encode("utf-8", "backslashreplace").decode("utf-8")


def message_text(content: Any, what: str, where: str, between: str = "") -> str:
    """The text of a chat message: a string, or parts of which those that are text are joined."""
    if not isinstance(content, list):
        return text_of(content, what, where)
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(text_of(part.get("text"), what, where))
        elif kind != "reasoning":
            raise InputError(f"{what} holds a part of type {shown(kind)}, which is no text", where)
    return between.join(texts)


def completion_text(value: Any, where: str) -> str:
    """The text of a completion: a string, or a conversation of one message."""
    if not isinstance(value, list):
        return message_text(value, "the completion", where)
    if len(value) != 1 or not isinstance(value[0], dict):
        raise InputError(
            f"the completion has {len(value)} messages, and one is read",
            where,
            "give the log of a single-turn task",
        )
    return message_text(value[0].get("content"), "the completion", where)


def last_question(messages: Any) -> tuple[str, ...]:
    """The text of the last message of a user, and of a prompt that is a plain text; else none."""
    if isinstance(messages, str):
        return (messages,)
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                parts = [part.get("text") for part in content if isinstance(part, dict)]
                content = "\n".join(part for part in parts if isinstance(part, str))
            return (content,) if isinstance(content, str) else ()
    return ()


def finish_of(value: Any, known: Mapping[str, str | None], where: str) -> str | None:
    """What a program's finish reason means here; None is one that was not recorded."""
    if value is None:
        return None
    if not isinstance(value, str) or value not in known:
        raise InputError(
            f"the finish reason {shown(value)} is not known", where, f"known are {', '.join(known)}"
        )
    return known[value]


def logprobs_of(values: Sequence[Any] | None, where: str) -> dict[str, Any]:
    """Log-probabilities of tokens and their sum, as fields of an Answer; {} where there are none.

    InputError for one that is no number of nats at most 0.
    """
    if values is None:
        return {}
    found = []
    for value in values:
        nats = number_of(value)
        if nats is None or nats > 0:
            raise InputError(f"the log-probability {shown(value)} is no number up to 0", where)
        found.append(nats)
    return {"logprobs": tuple(found), "sum_logprob": math.fsum(found), "tokens": len(found)}


def content_logprobs(recorded: Any, where: str) -> dict[str, Any]:
    """As `logprobs_of`, of the list `content` that chat completions have."""
    content = recorded.get("content") if isinstance(recorded, dict) else None
    if not isinstance(content, list):
        return {}
    values = [one.get("logprob") if isinstance(one, dict) else one for one in content]
    return logprobs_of(values, where)


def number_of(value: Any) -> float | None:
    """A finite number, integers as their digits included; None for anything else."""
    if isinstance(value, IntegerText) or (
        isinstance(value, int | float) and not isinstance(value, bool)
    ):
        try:
            number = float(value)
        except (OverflowError, ValueError):
            return None
        return number if math.isfinite(number) else None
    return None


def own_score(value: Any) -> float | None:
    """A number, or a truth as 1 or 0; None for a score that is neither."""
    return float(value) if isinstance(value, bool) else number_of(value)


def shown(value: Any) -> str:
    """A value in an error, short."""
    text = "null" if value is None else repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."
