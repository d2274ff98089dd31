"""One request for completions. It says every sampling parameter: no default of a server applies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engines.openai_server.prompts import Prompt
from schemas.config import GenerationSettings, SamplingSettings
from schemas.errors import InputError
from schemas.identity import derive_seed
from schemas.server import ServerSettings

SEED_BITS = 52  # a whole number that also a server in JavaScript reads exactly


@dataclass(frozen=True)
class Wanted:
    """Samples `first` to `first + count` of one problem, and the seed to draw them with."""

    prompt: Prompt
    first: int
    count: int
    seed: int


def problem_seed(run_seed: int, problem_id: str) -> int:
    """The seed of a problem's first sample: of the run's seed and the problem's id alone.

    Servers draw sample i of a request with its seed plus i. Hashed seeds lie so far apart that two
    problems do not share random numbers, as they would in one request or with seeds in a row.
    """
    return derive_seed("openai_server", run_seed, problem_id) >> (63 - SEED_BITS)


def requests_of(prompt: Prompt, problem_id: str, settings: GenerationSettings) -> Iterator[Wanted]:
    """The requests for the samples of one problem: one, unless the settings want more.

    At temperature 0 each sample is asked for alone, because servers refuse several equal ones.
    """
    assert settings.server is not None
    seed = problem_seed(settings.seed, problem_id)
    most = settings.server.samples_per_request or settings.samples
    if settings.sampling.temperature == 0:
        most = 1
    for first in range(0, settings.samples, most):
        count = min(most, settings.samples - first)
        yield Wanted(prompt, first, count, seed + first)


def body_of(
    model: str, wanted: Wanted, sampling: SamplingSettings, server: ServerSettings, *, top: int = 0
) -> dict[str, Any]:
    """The body of a request; `top` is the number of likeliest tokens to be told at each place."""
    return {
        "model": model,
        "prompt": wanted.prompt.sent,
        "n": wanted.count,
        "seed": wanted.seed,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_new_tokens,
        "logprobs": top,
        "stream": False,
        **extras(sampling, server, wanted.prompt),
    }


def extras(sampling: SamplingSettings, server: ServerSettings, prompt: Prompt) -> Mapping[str, Any]:
    """What OpenAI's own protocol has no word for.

    InputError where `extra_body` takes its place and does not say the top-k that the run has.
    """
    own = server.own_extras
    if own is not None:
        said = own.get("top_k", 0)
        if (said if isinstance(said, int) and said > 0 else 0) != sampling.top_k:
            raise InputError(
                f"the run has top-k {sampling.top_k}, and this says {said!r}",
                "--extra-body",
                f'put "top_k": {sampling.top_k or -1} into it, or change --top-k',
            )
        return own
    return {
        "top_k": sampling.top_k or -1,  # which every server reads as all
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "return_token_ids": True,
        **({"add_special_tokens": False} if prompt.started else {}),
    }
