"""Which models the fast paths refuse from their configuration alone, and with which words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from policy.attention.support import unsupported_reason
from policy.model.load import Policy


def test_plain_attention_is_supported_and_a_short_window_is_not(
    tiny_policy: Callable[[str], Policy],
) -> None:
    assert unsupported_reason(tiny_policy("llama").model, 10**6) is None
    assert unsupported_reason(tiny_policy("qwen3").model, 10**6) is None
    mistral = tiny_policy("mistral").model
    assert unsupported_reason(mistral, 24) is None
    assert unsupported_reason(mistral, 25) == "it attends to the last 24 tokens only"


@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("layer_types", ["full_attention", "linear_attention"], "of the kind linear_attention"),
        ("rope_parameters", {"rope_type": "dynamic"}, "rotation dynamic"),
        ("rope_parameters", {"full_attention": {"rope_type": "longrope"}}, "rotation longrope"),
    ],
)
def test_a_config_that_says_more_than_plain_attention_is_unsupported(
    attribute: str,
    value: object,
    reason: str,
    tiny_policy: Callable[[str], Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_policy("llama").model
    monkeypatch.setattr(model.config, attribute, value, raising=False)
    assert reason in str(unsupported_reason(model, 10))


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("_supports_attention_backend", False, "its attention cannot be exchanged"),
        ("_is_stateful", True, "it keeps a state besides keys and values"),
        ("forward", lambda self, input_ids: None, "it computes the logits of every token"),
    ],
)
def test_a_class_of_models_that_does_something_else_is_unsupported(
    flag: str,
    value: object,
    reason: str,
    tiny_policy: Callable[[str], Policy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_policy("llama").model
    monkeypatch.setattr(type(model), flag, value)
    assert unsupported_reason(model, 10) == reason
