"""Who answers at an address, and what it can: found out with a few tokens before a run begins."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifacts.text.visible import printable
from engines.openai_server.answers import check_model, choices_of, tokens_of
from engines.openai_server.asking import Asking
from engines.openai_server.drawn_from import check_after_temperature, likeliest, reshaped
from engines.openai_server.faults import AnswerError
from engines.openai_server.prompts import Prompt
from engines.openai_server.request import Wanted, body_of
from schemas.config import GenerationSettings, SamplingSettings
from schemas.engine import NOT_KNOWN, Gives
from schemas.errors import InputError
from schemas.server import ServerSettings

QUESTION = "What is 1 + 1?"
TOP = 5  # the most that OpenAI's protocol allows
SHOWN = 5  # names of models in a line
VERSION = re.compile(r"[\w.+-]{1,64}")
# behind a model's name: @main, -v2, -0613, -2024-08-06, :20230824-v2; -32k and -8b are other models
REVISION = r"@[\w.-]+|[:-]v\d[\w.-]*|[:-]\d{3,}(?:[.-][\w.-]+)?"
DTYPE = re.compile(r"dtype['\"]?\s*[=:]\s*['\"]?(?:torch\.)?((?:b?float|int)\d+\w*)")
OWNERS = {"vllm": "vllm", "llamacpp": "llama.cpp", "sglang": "sglang"}


@dataclass(frozen=True)
class Found:
    """What a server says of itself and was seen to do; `root` is where it says its model lies."""

    name: str
    version: str
    dtype: str
    root: str
    answers_as: str
    gives: Gives


async def probe(asking: Asking, model: str, prompt: Prompt, settings: GenerationSettings) -> Found:
    """Find out who answers; InputError where it cannot be used for this run."""
    assert settings.server is not None
    models = await _models(asking)
    entry = next((one for one in models if one.get("id") == model), {})
    names = [str(one.get("id")) for one in models]
    if model in ("", "default") and not entry:
        raise _no_such_model(model, names)
    neutral = SamplingSettings(max_new_tokens=1)
    count = min(2, settings.samples, settings.server.samples_per_request or 2)
    wanted = Wanted(prompt, 0, count, 0)
    body_of(model, wanted, settings.sampling, settings.server)  # refuses what does not fit
    body = body_of(model, wanted, neutral, _without_top_k(settings.server), top=TOP)
    try:
        answer = await asking.complete(body)
    except AnswerError as error:
        if error.status == 404 and names:
            raise _no_such_model(model, names) from None
        raise
    first = choices_of(answer, count)[0]
    answers_as = _answering(answer, model)
    gives: Gives = "tokens" if tokens_of(first) else "text"
    if gives == "tokens" and reshaped(settings.sampling):
        as_run = settings.sampling.model_copy(update={"max_new_tokens": 1})
        body = body_of(model, Wanted(prompt, 0, 1, 0), as_run, settings.server, top=TOP)
        drawn = choices_of(await asking.complete(body), 1)[0]
        check_after_temperature(likeliest(first), likeliest(drawn), settings.sampling)
    name = OWNERS.get(str(entry.get("owned_by", "")).lower(), NOT_KNOWN)
    root = entry.get("root")
    return Found(
        name=name,
        version=await _version(asking),
        dtype=await _dtype(asking),
        root=root if isinstance(root, str) else "",
        answers_as=answers_as,
        gives=gives,
    )


def _without_top_k(server: ServerSettings) -> ServerSettings:
    """How a server is asked for tokens from the whole distribution."""
    own = server.own_extras
    if own is None or "top_k" not in own:
        return server
    return server.model_copy(update={"extra_body": json.dumps(own | {"top_k": -1})})


async def _models(asking: Asking) -> list[Mapping[str, Any]]:
    """What the server says of its models; nothing where it fails at that, as some do."""
    try:
        return listed(await asking.get("/models"))
    except AnswerError as error:
        if error.status == 500:  # whether it runs is seen by the first completion
            return []
        raise


def listed(answer: Any) -> list[Mapping[str, Any]]:
    """The models that a server says it has; InputError where it says none such."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        raise InputError(
            "what answers there has no list of models",
            "--base-url",
            "give the address with its /v1",
        )
    return [one for one in data if isinstance(one, dict)]


def _answering(answer: Any, model: str) -> str:
    """How the server calls the model: by its name, or by that with a version or revision.

    InputError where it is another one.
    """
    found = str(answer.get("model")) if isinstance(answer, dict) else ""
    if not re.fullmatch(f"{re.escape(model)}(?:{REVISION})", found):
        check_model(answer, model)
    return found


async def _version(asking: Asking) -> str:
    told = await asking.get(_beside(asking, "/version"), patient=False)
    found = told.get("version") if isinstance(told, dict) else None
    return found if isinstance(found, str) and VERSION.fullmatch(found) else NOT_KNOWN


async def _dtype(asking: Asking) -> str:
    """The precision that a server computes in, from the page on which some tell their settings."""
    told = await asking.get(_beside(asking, "/server_info"), patient=False)
    found = DTYPE.search(str(told)[:100_000]) if isinstance(told, dict) else None
    return found[1] if found else NOT_KNOWN


def _beside(asking: Asking, path: str) -> str:
    return asking.address.removesuffix("/v1") + path


def _no_such_model(model: str, names: list[str]) -> InputError:
    shown = ", ".join(printable(name[:100]) for name in names[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return InputError(
        "the server has no such model",
        f"--model {model}",
        f"it has {shown}{more}" if names else "give the name that the server has for it",
    )
