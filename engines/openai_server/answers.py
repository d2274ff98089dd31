"""What a server answers, believed only as far as it can be checked.

A table holds tokens and log-probabilities of a server only where they fit its text, the prompt, the
limit of tokens, and each other. What breaks one of these ends the run, and nothing of it is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from artifacts.text.visible import printable
from engines.openai_server.request import Wanted
from policy.model.load import UNKNOWN_TOKEN_TEXT, decode_completion
from schemas.errors import InputError
from schemas.finish_reasons import LENGTH, STOP

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FINISHED = {"stop": STOP, "eos": STOP, "eos_token": STOP, "length": LENGTH}
ROUNDING = 1e-3  # nats above 0 that are rounding, and not a probability above 1
SUM_ROUNDING = 2e-2  # of a sum of probabilities that were computed in half precision
HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Answered:
    """One sample; `token_ids` and `logprobs` (nats) are None where the server gave text alone."""

    text: str
    finish_reason: str
    seed: int
    token_ids: list[int] | None = None
    logprobs: list[float] | None = None


@dataclass(frozen=True)
class Reading:
    """How the answers of one server are read.

    - `answers_as`: what the server calls the model in its answers.
    - `with_tokens`: whether it gives token ids and log-probabilities, which is then a duty.
    - `greedy`: at temperature 0 a token is certain, so its log-probability is 0 nats.
    """

    answers_as: str
    with_tokens: bool
    most_tokens: int
    greedy: bool
    tokenizer: PreTrainedTokenizerBase | None


def read_answer(answer: Any, wanted: Wanted, reading: Reading) -> list[Answered]:
    """The samples of one request, in their order; InputError for the first thing that is wrong."""
    check_model(answer, reading.answers_as)
    samples = [_sample(choice, wanted, reading) for choice in choices_of(answer, wanted.count)]
    if reading.with_tokens and not reading.greedy:
        _check_first_tokens(samples)
    return samples


def choices_of(answer: Any, count: int) -> list[Mapping[str, Any]]:
    """The choices by their index; InputError where there are not as many as were asked for."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not all(isinstance(one, dict) for one in choices):
        raise _wrong("its answer has no list of choices")
    if len(choices) != count:
        raise InputError(
            f"the server gave {len(choices)} samples where {count} were asked for",
            "--base-url",
            "add --samples-per-request 1, so that it is asked for each",
        )
    places = [one.get("index", 0) for one in choices]
    if not all(type(place) is int for place in places) or sorted(places) != list(range(count)):
        raise _wrong("its choices are not numbered from 0")
    return [choices[places.index(place)] for place in range(count)]


def check_model(answer: Any, expected: str) -> None:
    """InputError where another model answers, or none is named."""
    found = answer.get("model") if isinstance(answer, dict) else None
    if found is None:
        raise _wrong("it names no model")
    if found != expected:
        raise InputError(
            f"the server answers with the model {printable(str(found)[:100])}",
            f"--model {expected}",
            "name the model that it has",
        )


def tokens_of(choice: Mapping[str, Any]) -> tuple[list[int], list[float]] | None:
    """Token ids and log-probabilities in nats; None where one of them is not given.

    InputError where they are not numbers, or not as many of one as of the other.
    """
    ids, told = choice.get("token_ids"), choice.get("logprobs")
    logprobs = told.get("token_logprobs") if isinstance(told, dict) else None
    if ids is None or logprobs is None:
        return None
    if not isinstance(ids, list) or not all(type(one) is int and 0 <= one < 2**31 for one in ids):
        raise _wrong("its token ids are no list of whole numbers")
    if not isinstance(logprobs, list) or not all(_is_number(one) for one in logprobs):
        raise _wrong("its log-probabilities are no list of numbers")
    if len(ids) != len(logprobs):
        raise _wrong(f"it gives {len(ids)} token ids and {len(logprobs)} log-probabilities")
    if not ids:
        raise _wrong("it gives a sample without any token, not even one that ends it")
    if (highest := max(logprobs)) > ROUNDING:
        raise _wrong(f"it gives a log-probability of {highest:.3g}, which is above 0")
    return ids, [min(0.0, float(one)) for one in logprobs]


def _sample(choice: Mapping[str, Any], wanted: Wanted, reading: Reading) -> Answered:
    text, index = choice.get("text"), choice.get("index", 0)
    if not isinstance(text, str) or HALF.search(text):
        raise _wrong("it gives a sample that is no text")
    finish = FINISHED.get(str(choice.get("finish_reason")))
    if finish is None:
        why = printable(str(choice.get("finish_reason"))[:60])
        raise _wrong(f"it ended a sample by {why!r}, which is neither stop nor length")
    seed = wanted.seed + index
    if not reading.with_tokens:
        return Answered(text, finish, seed)
    tokens = tokens_of(choice)
    if tokens is None:
        raise _wrong("it gives no token ids or log-probabilities any more")
    ids, logprobs = tokens
    _check_length(ids, finish, reading.most_tokens)
    _check_prompt(choice, wanted)
    if reading.tokenizer is not None:
        text = _decoded(text, ids, finish, reading.tokenizer)
    return Answered(text, finish, seed, ids, [0.0] * len(ids) if reading.greedy else logprobs)


def _check_length(ids: Sequence[int], finish: str, most: int) -> None:
    if len(ids) > most:
        raise _wrong(f"it gives {len(ids)} tokens where at most {most} were asked for")
    if finish == LENGTH and len(ids) < most:
        raise InputError(
            f"the server cut a sample off after {len(ids)} of {most} tokens",
            "--base-url",
            "its context is too short: serve the model with a longer one, or lower "
            "--max-new-tokens",
        )


def _check_prompt(choice: Mapping[str, Any], wanted: Wanted) -> None:
    read = choice.get("prompt_token_ids")
    if read is not None and wanted.prompt.token_ids not in (None, read):
        raise InputError(
            "the server read other token ids than this tokenizer makes of the prompt",
            "--tokenizer",
            "give the folder of the model that is served",
        )


def _decoded(text: str, ids: Sequence[int], finish: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text of these tokens as this process writes it; InputError where the server's differs.

    The token before a stop is the end token. Of bytes that are no UTF-8, and of a space before the
    first word, servers show more or less; nothing else may differ.
    """
    own = decode_completion(tokenizer, ids, ids[-1:] if finish == STOP else ())
    if _plain(own) != _plain(text):
        raise InputError(
            f"the server's tokens do not decode to its text: {printable(repr(own[:60]))} and "
            f"{printable(repr(text[:60]))}",
            "--tokenizer",
            "give the folder of the model that is served, and have it serve special tokens as text",
        )
    return own


def _plain(text: str) -> str:
    return text.replace(UNKNOWN_TOKEN_TEXT, "").removeprefix(" ")


def _check_first_tokens(samples: Sequence[Answered]) -> None:
    """InputError where the first tokens of one prompt have more than all the probability.

    They are drawn from one distribution, so different ones share a probability of 1.
    """
    first = {s.token_ids[0]: s.logprobs[0] for s in samples if s.token_ids and s.logprobs}
    total = sum(math.exp(logprob) for logprob in first.values())
    if total > 1 + SUM_ROUNDING:
        raise _wrong(
            f"the probabilities of {len(first)} first tokens of one prompt sum to {total:.3f}"
        )


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _wrong(what: str) -> InputError:
    return InputError(
        f"the server's answer cannot be used: {what}", "--base-url", "ask another server"
    )
