"""Log-probabilities before temperature and cuts are told from those after them, by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from engines.openai_server.drawn_from import check_after_temperature, likeliest, reshaped
from schemas.config import SamplingSettings
from schemas.errors import InputError

# half, a quarter, an eighth, a sixteenth; the last sixteenth is of tokens that are not shown
PLAIN = {"a": math.log(1 / 2), "b": math.log(1 / 4), "c": math.log(1 / 8), "d": math.log(1 / 16)}


def check(drawn: Mapping[str, float], **settings: float) -> None:
    check_after_temperature(PLAIN, drawn, SamplingSettings.model_validate(settings))


def logs(**chances: float) -> dict[str, float]:
    return {token: math.log(chance) for token, chance in chances.items()}


def test_differences_are_those_of_before_over_the_temperature() -> None:
    # at temperature 1/2 chances are squared: 64 : 16 : 4 : 1, and little is left for the others
    squared = logs(a=0.75, b=0.75 / 4, c=0.75 / 16, d=0.75 / 64)
    check(squared, temperature=0.5)
    with pytest.raises(InputError, match=r"differ by 0\.69 nats where 1\.39 is right"):
        check(PLAIN, temperature=0.5)
    # at temperature 2 it is their roots
    check(logs(a=0.3, b=0.3 / 2**0.5, c=0.3 / 2, d=0.3 / 8**0.5), temperature=2)
    with pytest.raises(InputError, match="differ by 1.39 nats where 0.35 is right"):
        check(squared, temperature=2)


def test_what_is_cut_off_has_no_probability_and_the_rest_has_it_all() -> None:
    left = logs(a=2 / 3, b=1 / 3)
    check(left, top_k=2)
    check(left | {"c": -9999.0}, top_k=2)
    check(left, top_p=0.7)  # half is not enough, and three quarters are
    with pytest.raises(InputError, match="c is cut off and has one"):
        check(PLAIN, top_k=2)
    with pytest.raises(InputError, match="c is cut off and has one"):
        check(PLAIN, top_p=0.7)
    with pytest.raises(InputError, match=r"the tokens that are left have a probability of 0\.750"):
        check(logs(a=1 / 2, b=1 / 4), top_k=2)
    with pytest.raises(InputError, match=r"the likeliest tokens have a probability of 1\.200"):
        check(logs(a=0.8, b=0.4), top_k=2)


def test_tokens_of_equal_probability_are_all_kept() -> None:
    plain = logs(a=0.4, b=0.2, c=0.2)
    kept = SamplingSettings(top_k=2)
    check_after_temperature(plain, logs(a=0.5, b=0.25, c=0.25), kept)


def test_what_cannot_be_checked_is_refused() -> None:
    hot = SamplingSettings(temperature=2)
    for plain, drawn in ((PLAIN, {}), ({}, PLAIN)):
        with pytest.raises(InputError, match="does not say which tokens were likeliest"):
            check_after_temperature(plain, drawn, hot)
    with pytest.raises(InputError, match="likeliest tokens of two equal prompts are not the same"):
        check_after_temperature(PLAIN, logs(x=0.4, y=0.2), hot)


def test_only_another_distribution_than_the_policys_is_checked() -> None:
    assert not reshaped(SamplingSettings())
    assert not reshaped(SamplingSettings(temperature=0, top_k=5)), "a certain token tells nothing"
    for shaped in ({"temperature": 0.9}, {"top_k": 5}, {"top_p": 0.9}):
        assert reshaped(SamplingSettings.model_validate(shaped))


@pytest.mark.parametrize(
    "told", [None, {}, {"top_logprobs": None}, {"top_logprobs": []}, {"top_logprobs": ["a"]}]
)
def test_what_names_no_likeliest_tokens_has_none(told: object) -> None:
    assert likeliest({"logprobs": told}) == {}


def test_only_numbers_are_read() -> None:
    places = [{"a": -1, "b": math.nan, "c": None, "d": True}]
    assert likeliest({"logprobs": {"top_logprobs": places}}) == {"a": -1.0}
