"""Who answers at an address, and what it can: found out with a few tokens before a run begins.

Where a server gives log-probabilities, they must be those of the distribution that its tokens are
drawn from. At temperature 1 with no token cut off they always are. Otherwise the same prompt is
asked twice, once so and once as the run has it. The differences between its likeliest first tokens
must then be those of before divided by the temperature; and where tokens are cut off, what is left
must have all the probability, as far as the likeliest few show it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from artifacts.text.visible import printable
from engines.openai_server.answers import choices_of, tokens_of
from engines.openai_server.asking import Asking
from engines.openai_server.prompts import Prompt
from engines.openai_server.request import Wanted, body_of
from schemas.config import GenerationSettings, SamplingSettings
from schemas.engine import NOT_KNOWN, Gives
from schemas.errors import InputError
from schemas.server import ServerSettings

QUESTION = "What is 1 + 1?"
TOP = 5  # the most that OpenAI's protocol allows
AGREEING = 0.15  # nats; logits of half precision are rounded to 0.06 where they are about 10
ALMOST_ALL = 0.98  # of the probability, as rounded numbers sum up to
CUT_OFF = -1e3  # nats; servers write minus infinity as a large number
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
    listed = _listed(await asking.get("/models"))
    entry = next((one for one in listed if one.get("id") == model), {})
    names = [str(one.get("id")) for one in listed]
    if model in ("", "default") and not entry:
        raise _no_such_model(model, names)
    neutral = SamplingSettings(max_new_tokens=1)
    count = min(2, settings.samples, settings.server.samples_per_request or 2)
    wanted = Wanted(prompt, 0, count, 0)
    body_of(model, wanted, settings.sampling, settings.server)  # refuses what does not fit
    body = body_of(model, wanted, neutral, _without_top_k(settings.server), top=TOP)
    try:
        answer = await asking.complete(body)
    except InputError as error:
        if "answers 404" in error.what and names:
            raise _no_such_model(model, names) from None
        raise
    first = choices_of(answer, count)[0]
    answers_as = _answering(answer, model)
    gives: Gives = "tokens" if tokens_of(first) else "text"
    if gives == "tokens" and _reshaped(settings.sampling):
        as_run = settings.sampling.model_copy(update={"max_new_tokens": 1})
        body = body_of(model, Wanted(prompt, 0, 1, 0), as_run, settings.server, top=TOP)
        drawn = choices_of(await asking.complete(body), 1)[0]
        check_after_temperature(_likeliest(first), _likeliest(drawn), settings.sampling)
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


def check_after_temperature(
    plain: Mapping[str, float], drawn: Mapping[str, float], settings: SamplingSettings
) -> None:
    """InputError for log-probabilities that are not those of the distribution drawn from.

    Both hold the likeliest tokens of one prompt with their log-probabilities in nats: `plain` at
    temperature 1 with nothing cut off, `drawn` as the settings say.
    """
    kept = {token: told for token, told in drawn.items() if told > CUT_OFF}
    if not plain or not kept:
        raise _unchecked("the server does not say which tokens were likeliest")
    best = max(kept, key=lambda token: kept[token])
    both = [token for token in kept if token in plain and best in plain]
    for token in both:
        expected = (plain[token] - plain[best]) / settings.temperature
        seen = kept[token] - kept[best]
        if abs(seen - expected) > AGREEING + 0.02 * abs(expected):
            raise _before_temperature(
                f"tokens differ by {abs(seen):.2f} nats where {abs(expected):.2f} is right"
            )
    if cut := [token for token in _surely_cut(plain, settings) if token in kept]:
        raise _before_temperature(f"{printable(cut[0]) or 'a token'} is cut off and has one")
    left = sum(math.exp(told) for told in kept.values())
    if left > 1 / ALMOST_ALL:
        raise _before_temperature(f"the likeliest tokens have a probability of {left:.3f}")
    if left < ALMOST_ALL and _all_are_shown(plain, kept, settings):
        raise _before_temperature(f"the tokens that are left have a probability of {left:.3f}")
    if len(both) < 2 and left < ALMOST_ALL:
        raise _unchecked("the likeliest tokens of two equal prompts are not the same")


def _surely_cut(plain: Mapping[str, float], settings: SamplingSettings) -> list[str]:
    """The tokens that top-k or top-p must have cut off, whatever is not shown.

    Temperatures up to 1 leave the likeliest tokens at least the share that they had at 1.
    """
    ranked = sorted(plain.items(), key=lambda item: -item[1])
    cut, before = [], 0.0
    for rank, (token, told) in enumerate(ranked):
        last = ranked[settings.top_k - 1][1] if 0 < settings.top_k <= rank else math.inf
        unlikelier = last < math.inf and told < last - AGREEING  # equals are all kept
        beyond = settings.temperature <= 1 and before > settings.top_p + 1 - ALMOST_ALL
        if unlikelier or (settings.top_p < 1 and beyond):
            cut.append(token)
        before += math.exp(told)
    return cut


def _all_are_shown(
    plain: Mapping[str, float], kept: Mapping[str, float], settings: SamplingSettings
) -> bool:
    """Whether every token that top-k or top-p leaves must be among those shown."""
    if 0 < settings.top_k <= len(kept):
        return True
    share = sum(math.exp(told) for told in plain.values())
    return settings.top_p < 1 and settings.temperature <= 1 and share >= settings.top_p


def _reshaped(settings: SamplingSettings) -> bool:
    """Whether tokens are drawn from another distribution than the policy's.

    At temperature 0 a token is certain, and what a server says of it is not used.
    """
    cut = settings.top_k > 0 or settings.top_p < 1
    return settings.temperature != 0 and (cut or settings.temperature != 1)


def _likeliest(choice: Mapping[str, Any]) -> dict[str, float]:
    """The likeliest first tokens with their log-probabilities; empty where none are told."""
    told = choice.get("logprobs")
    places = told.get("top_logprobs") if isinstance(told, dict) else None
    first = places[0] if isinstance(places, list) and places else None
    if not isinstance(first, dict):
        return {}
    return {
        str(token): float(logprob)
        for token, logprob in first.items()
        if type(logprob) in (int, float) and not math.isnan(logprob)
    }


def _listed(answer: Any) -> list[Mapping[str, Any]]:
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
    if found == model or re.fullmatch(f"{re.escape(model)}(?:{REVISION})", found):
        return found
    raise InputError(
        f"the server answers with the model {printable(found[:100])}",
        f"--model {model}",
        "name the model that it has",
    )


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


def _before_temperature(seen: str) -> InputError:
    return InputError(
        f"the server's log-probabilities are not those that it draws from: {seen}",
        "--base-url",
        "have it tell them after temperature and cuts, as vLLM does with --logprobs-mode "
        "processed_logprobs",
    )


def _unchecked(why: str) -> InputError:
    return InputError(
        f"the server's log-probabilities may not be those that it draws from: {why}",
        "--temperature, --top-k, --top-p",
        "sample at temperature 1 without cuts, or leave tokens out with --extra-body '{}'",
    )
