"""Which path a model takes, and that both give the same numbers."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers import LlamaConfig, MistralConfig

from policy.logprobs.completion_logprobs import CompletionLogprobs
from tests.policy.logprobs.naive import SIZES, UNSERVED, batch_of, model_of, one_by_one


@pytest.mark.parametrize("kind", UNSERVED)
def test_other_models_take_the_plain_path_and_say_why(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = model_of(UNSERVED[kind]())
    batch = batch_of()
    with caplog.at_level(logging.WARNING):
        path = CompletionLogprobs(model)
        for _ in range(2):
            got = path(model, *batch, 1.0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    torch.testing.assert_close(got, one_by_one(model, *batch), rtol=0.0, atol=1e-4)


def test_a_window_longer_than_every_path_does_not_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = model_of(MistralConfig(**SIZES, sliding_window=64))
    batch = batch_of()
    got = CompletionLogprobs(model)(model, *batch, 1.0)
    assert not caplog.records
    torch.testing.assert_close(got, one_by_one(model, *batch), rtol=0.0, atol=1e-4)


def test_a_window_shorter_than_a_path_sends_that_batch_down_the_plain_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = model_of(MistralConfig(**SIZES, sliding_window=10))
    path = CompletionLogprobs(model)
    assert path.shares
    batch = batch_of()
    got = path(model, *batch, 1.0)
    assert "it attends to the last 10 tokens only" in caplog.text
    torch.testing.assert_close(got, one_by_one(model, *batch), rtol=0.0, atol=1e-4)


def test_sizes_count_what_each_problem_adds_to_a_pass() -> None:
    prompts = [[1, 2, 3, 4], [1, 2, 5]]
    completions = [[6, 7, 8], [6], [6, 7], [9, 9]]
    # packed: 2 and 1 tokens of the prompts are not common; completions without their last tokens
    shared = CompletionLogprobs(model_of(LlamaConfig(**SIZES)))
    assert shared.sizes(prompts, completions) == [2 + 2 + 0, 1 + 1 + 1]
    # padded: each completion in a row as long as the problem's longest
    plain = CompletionLogprobs(model_of(UNSERVED["capped attention"]()))
    assert plain.sizes(prompts, completions) == [2 * (4 + 3), 2 * (3 + 2)]
