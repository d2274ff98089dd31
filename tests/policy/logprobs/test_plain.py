"""Right-padded log-probabilities against one forward per completion."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig

from policy.logprobs.plain import plain_logprobs
from policy.logprobs.shared import shared_logprobs
from tests.policy.logprobs.naive import (
    SERVED,
    SIZES,
    UNSERVED,
    assert_same_gradients,
    batch_of,
    gradients_of,
    model_of,
    one_by_one,
)


@pytest.mark.parametrize("kind", [*SERVED, *UNSERVED])
def test_plain_numbers_are_those_of_one_forward_per_completion(kind: str) -> None:
    model = model_of((SERVED | UNSERVED)[kind]())
    batch = batch_of()
    expected = one_by_one(model, *batch)
    got = plain_logprobs(model, *batch)
    torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-4)
    assert_same_gradients(gradients_of(model, got), gradients_of(model, expected))


def test_temperature_divides_the_logits_on_both_paths() -> None:
    model = model_of(LlamaConfig(**SIZES))
    with torch.no_grad():
        model.lm_head.weight.mul_(2.0)
    warm = [path(model, *batch_of(), temperature=2.0) for path in (shared_logprobs, plain_logprobs)]
    with torch.no_grad():
        model.lm_head.weight.div_(2.0)
    for values in warm:
        torch.testing.assert_close(values, plain_logprobs(model, *batch_of()), rtol=0, atol=1e-4)
