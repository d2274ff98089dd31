"""How a server that answers in place of a model here is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from schemas.frozen import Frozen
from schemas.identity import canonical_json

# what a request says already, from other settings; `extra_body` must not say it again
SAID = (
    "model", "prompt", "n", "seed", "temperature", "top_p", "max_tokens", "logprobs",
    "stream", "stop", "echo", "best_of", "suffix",
)  # fmt: skip
# what leaves the policy's distribution and the prompt as they are, as our own requests say it
NEUTRAL: Mapping[str, Any] = {
    "min_p": 0, "repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0,
    "logit_bias": {}, "skip_special_tokens": False, "add_special_tokens": False,
}  # fmt: skip
# what changes no token, whatever it says; and top-k, which the sampling settings say too
HARMLESS = ("top_k", "return_token_ids", "spaces_between_special_tokens", "user", "priority")

IMPORTANCE_CAP = 2.0  # as published for the ratios of tokens

NO_ADDRESS = "is no address, such as http://127.0.0.1:8000/v1"


class ServerSettings(Frozen):
    """A server with /v1/completions. Its address is left out of whatever is recorded or sent on."""

    base_url: Annotated[
        str,
        Field(
            exclude=True,
            description="a server's address, as http://HOST:8000/v1; --model is its name there",
        ),
    ] = ""
    num_concurrent: Annotated[
        int, Field(ge=1, le=1024, description="requests to the server at a time")
    ] = 8
    max_retries: Annotated[
        int, Field(ge=0, le=100, description="times that a request which failed is sent again")
    ] = 5
    tokenizer: Annotated[
        str | None,
        Field(description="folder with the server's tokenizer, so that prompts are token ids"),
    ] = None
    text_prompts: Annotated[
        bool, Field(description="with --tokenizer: send the rendered text, not token ids")
    ] = False
    samples_per_request: Annotated[
        int | None,
        Field(ge=1, le=4096, description="most samples in one request; default all of a problem"),
    ] = None
    extra_body: Annotated[
        str | None,
        Field(description="JSON object in place of what OpenAI's protocol has not; {} is none"),
    ] = None

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not is_address(value):
            raise ValueError(NO_ADDRESS)
        return value

    @field_validator("extra_body")
    @classmethod
    def _is_an_object(cls, value: str | None) -> str | None:
        if value is not None:
            found = _read(value)
            if twice := [name for name in SAID if name in found]:
                raise ValueError(f"says {twice[0]}, which other settings say already")
        return value

    @property
    def own_extras(self) -> dict[str, Any] | None:
        """What `extra_body` says; None where ours are sent."""
        return None if self.extra_body is None else _read(self.extra_body)

    @property
    def reshaping(self) -> dict[str, Any]:
        """What `extra_body` says that may change which tokens are drawn; unknown words may."""
        said = {name: value for name, value in (self.own_extras or {}).items() if value is not None}
        return {
            name: value
            for name, value in said.items()
            if name not in HARMLESS and not (name in NEUTRAL and value == NEUTRAL[name])
        }


class StepSampling(Frozen):
    """How a server samples the steps of learning, from an adapter that it loads at each."""

    served_model: Annotated[
        str | None,
        Field(
            min_length=1,
            description="the name that the server has for the model; default its only one",
        ),
    ] = None
    adapter_folder: Annotated[
        str | None,
        Field(
            min_length=1,
            description="folder that the server reads adapters from; default in the data folder",
        ),
    ] = None
    max_off_policy_steps: Annotated[
        int,
        Field(
            ge=0,
            le=64,
            description="sample with a policy up to so many steps old; above 0, weighted",
        ),
    ] = 0
    importance_cap: Annotated[
        float,
        Field(
            gt=0,
            le=1e9,
            description="truncate importance weights here, with --max-off-policy-steps",
        ),
    ] = IMPORTANCE_CAP


Sampler = Annotated[
    StepSampling,
    Field(
        exclude_if=lambda value: value == StepSampling(),
        description="how a server samples the steps",
    ),
]


def is_address(value: str) -> bool:
    """Whether requests can be sent below it."""
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    return bool(known) and not (parts.query or parts.fragment)


def _read(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
        canonical_json(found)  # which refuses numbers that are none, as 1e999
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError('is no JSON object, such as {"top_k": 5}')
    return found
