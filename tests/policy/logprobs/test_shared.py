"""Packed log-probabilities and gradients against one plain forward per completion."""

from __future__ import annotations

import random

import pytest
import torch
from transformers import AutoConfig, LlamaConfig

from policy.attention.support import UnsupportedAttentionError
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.shared import KeptPrefixes, probed_unsupported_reason, shared_logprobs
from tests.policy.logprobs.naive import (
    SERVED,
    SIZES,
    VOCABULARY,
    assert_same_gradients,
    batch_of,
    gradients_of,
    model_of,
    one_by_one,
)


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("common", [5, 0])
def test_packed_numbers_and_gradients_are_those_of_one_forward_per_completion(
    kind: str, common: int
) -> None:
    model = model_of(SERVED[kind]())
    batch = batch_of(common)
    expected = one_by_one(model, *batch)
    got = shared_logprobs(model, *batch)
    torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-4)
    assert_same_gradients(gradients_of(model, got), gradients_of(model, expected))


@pytest.mark.parametrize(("most_shared", "whole"), [(0, 0), (3, 0), (256, 0), (256, 96)])
@pytest.mark.parametrize("seed", range(4))
def test_shared_beginnings_change_no_number(
    seed: int, most_shared: int, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy.attention.prefix_tree.MOST_SHARED", most_shared)
    monkeypatch.setattr("policy.attention.prefix_tree.MOST_WHOLE", whole)
    model = model_of(LlamaConfig(**SIZES))
    rng = random.Random(seed)
    prompts = [[1, *(rng.randrange(2) for _ in range(rng.randint(1, 4)))] for _ in range(3)]
    # two tokens only, so that completions begin alike, contain one another or are equal
    completions = [[rng.randrange(2) for _ in range(rng.randint(1, 6))] for _ in range(18)]
    expected = one_by_one(model, prompts, completions)
    got = shared_logprobs(model, prompts, completions)
    torch.testing.assert_close(got, expected[:, : got.shape[1]], rtol=0.0, atol=1e-4)
    assert_same_gradients(
        gradients_of(model, got), gradients_of(model, expected[:, : got.shape[1]])
    )


@pytest.mark.parametrize("kind", SERVED)
def test_a_kept_prefix_changes_no_number(kind: str) -> None:
    model, kept = model_of(SERVED[kind]()), KeptPrefixes()
    with torch.no_grad():
        for seed in range(2):
            prompts, completions = batch_of(5)
            turned = (prompts[seed:] + prompts[:seed], completions)
            expected = shared_logprobs(model, *turned)
            got = shared_logprobs(model, *turned, kept=kept)
            torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-5)


def test_a_prefix_is_computed_once_and_gives_the_same_bytes_whatever_came_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of(LlamaConfig(**SIZES))
    passes: list[int] = []
    of_model = model.model.forward

    def counted(*arguments: object, **named: torch.Tensor) -> object:
        passes.append(named["input_ids"].shape[1])
        return of_model(*arguments, **named)

    monkeypatch.setattr(model.model, "forward", counted)
    batch, other = batch_of(5), batch_of(3)
    used, fresh = KeptPrefixes(), KeptPrefixes()
    with torch.no_grad():
        for asked in (batch, other, batch):
            last = shared_logprobs(model, *asked, kept=used)
        assert passes.count(5) == 1, "the prefix of 5 tokens was read once"
        assert torch.equal(last, shared_logprobs(model, *batch, kept=fresh))


def test_one_prompt_alone_keeps_nothing() -> None:
    """Its prefix is nearly all of it, and no other call would find it again."""
    kept = KeptPrefixes()
    prompts, completions = batch_of(5)
    samples = len(completions) // len(prompts)
    model = model_of(LlamaConfig(**SIZES))
    with torch.no_grad():
        shared_logprobs(model, prompts[:1], completions[:samples], kept=kept)
    assert not kept._kept


@pytest.mark.parametrize("kind", SERVED)
def test_models_with_plain_attention_are_found_fit_for_sharing(kind: str) -> None:
    assert probed_unsupported_reason(model_of(SERVED[kind]())) is None


def test_scaled_logits_are_noticed() -> None:
    config = AutoConfig.for_model("granite", **SIZES, logits_scaling=3.0)
    assert "would differ" in str(probed_unsupported_reason(model_of(config)))


def test_the_attention_implementation_is_put_back() -> None:
    model = model_of(LlamaConfig(**SIZES))
    before = model.config._attn_implementation
    shared_logprobs(model, *batch_of())
    assert model.config._attn_implementation == before
    with pytest.raises(IndexError):
        shared_logprobs(model, [[VOCABULARY + 5, 1]], [[1]])
    assert model.config._attn_implementation == before


def test_completions_of_one_token_need_no_suffix_of_their_own() -> None:
    model = model_of(LlamaConfig(**SIZES))
    prompts, completions = [[1, 2, 3], [1, 4]], [[5], [6], [7], [5]]
    got = shared_logprobs(model, prompts, completions)
    torch.testing.assert_close(got, plain_logprobs(model, prompts, completions), rtol=0, atol=1e-4)


def test_a_single_prompt_and_a_single_completion_are_abatch_of() -> None:
    model = model_of(LlamaConfig(**SIZES))
    for prompt in ([1], [1, 2, 3]):
        got = shared_logprobs(model, [prompt], [[5, 6]])
        torch.testing.assert_close(
            got, plain_logprobs(model, [prompt], [[5, 6]]), rtol=0, atol=1e-4
        )


def test_another_output_layer_than_a_linear_one_is_refused() -> None:
    model = model_of(LlamaConfig(**SIZES))
    model.lm_head = torch.nn.Sequential(model.lm_head)
    with pytest.raises(UnsupportedAttentionError, match="its output layer is Sequential"):
        shared_logprobs(model, [[1, 2]], [[3]])
    assert probed_unsupported_reason(model) == "its output layer is Sequential"
