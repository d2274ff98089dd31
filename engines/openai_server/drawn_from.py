"""Whether a server gives log-probabilities of the distribution that its tokens are drawn from.

At temperature 1 with no token cut off they always are. Otherwise the same prompt is asked twice,
once so and once as the run has it. The differences between its likeliest first tokens must then be
those of before divided by the temperature; and where tokens are cut off, what is left must have all
the probability, as far as the likeliest few show it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from artifacts.text.visible import printable
from schemas.config import SamplingSettings
from schemas.errors import InputError

AGREEING = 0.15  # nats; logits of half precision are rounded to 0.06 where they are about 10
ALMOST_ALL = 0.98  # of the probability, as rounded numbers sum up to
CUT_OFF = -1e3  # nats; servers write minus infinity as a large number


def reshaped(settings: SamplingSettings) -> bool:
    """Whether tokens are drawn from another distribution than the policy's.

    At temperature 0 a token is certain, and what a server says of it is not used.
    """
    cut = settings.top_k > 0 or settings.top_p < 1
    return settings.temperature != 0 and (cut or settings.temperature != 1)


def likeliest(choice: Mapping[str, Any]) -> dict[str, float]:
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
