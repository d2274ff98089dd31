"""Fast paths and plain paths side by side, on tiny models of many of the library's classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from policy.attention import support
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.logprobs.plain import plain_logprobs
from policy.model.load import Policy
from policy.sampling import sample as sampling
from schemas.config import SamplingSettings

VOCABULARY = 61
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": 1,
}
SHORT, WIDE = {"sliding_window": 6}, {"sliding_window": 64}
HALF = {"layer_types": ["sliding_attention", "full_attention"] * 2}
# class, its own settings, whether the sampler shares, whether the gradient's packed row does
CASES: dict[str, tuple[str, dict[str, Any], bool, bool]] = {
    "llama": ("llama", {}, True, True),
    "llama with a tied head": ("llama", {"tie_word_embeddings": True}, True, True),
    "qwen2, biases": ("qwen2", {}, True, True),
    "qwen2, window in half its layers": (
        "qwen2",
        {"use_sliding_window": True, **SHORT, **HALF},
        False,
        False,
    ),
    "qwen3, normalised queries": ("qwen3", {}, True, True),
    "olmo2, norms after": ("olmo2", {}, True, True),
    "phi3, one matrix for queries, keys and values": ("phi3", {}, True, True),
    "mistral, wide window": ("mistral", WIDE, True, True),
    "mistral, short window": ("mistral", SHORT, False, False),
    "gemma2, capped": ("gemma2", WIDE, False, False),
    "gemma3, two rotations, wide window": ("gemma3_text", {**WIDE, **HALF}, True, True),
    "gemma3, short window in half its layers": ("gemma3_text", {**SHORT, **HALF}, False, False),
    "granite, scaled logits": ("granite", {"logits_scaling": 3.0}, True, False),
}
PROMPTS = [[5, 6, 7, 8, 9, 10], [5, 6, 9], [5, 6, 7, 11, 12, 13, 14]]


def make(case: str) -> Policy:
    kind, own, _, _ = CASES[case]
    config = AutoConfig.for_model(kind, **SIZES | own)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForCausalLM.from_config(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():  # far from zero: attention is not uniform
                parameter.add_(torch.randn_like(parameter) * 0.2)
    tokenizer: Any = None
    return Policy(
        model, tokenizer, case, "0" * 64, (1,), Path(), torch.device("cpu"), torch.float32
    )


def sample_of(policy: Policy) -> sampling.Samples:
    settings = SamplingSettings(max_new_tokens=8)
    return sampling.sample(policy, PROMPTS, samples=6, settings=settings, seed=5)


@pytest.mark.parametrize("case", CASES)
def test_one_seed_samples_the_same_tokens_on_both_paths(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = make(case)
    fast = sample_of(policy)
    monkeypatch.setattr(support, "unsupported_reason", lambda model, tokens: "so wants the test")
    plain = sample_of(policy)
    assert fast.decoder == ("shared" if CASES[case][2] else "plain")
    assert plain.decoder == "plain"
    assert fast.token_ids == plain.token_ids
    assert fast.finish_reasons == plain.finish_reasons
    for mine, theirs in zip(fast.logprobs, plain.logprobs, strict=True):
        assert mine == pytest.approx(theirs, abs=1e-4)


def gradients(model: Any, values: Tensor) -> list[Tensor]:
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    total = (values * weights).sum()
    return list(torch.autograd.grad(total, list(model.parameters()), materialize_grads=True))


@pytest.mark.parametrize("case", CASES)
def test_one_batch_gives_the_same_numbers_and_gradients_on_both_paths(case: str) -> None:
    policy = make(case)
    model, sampled = policy.model, sample_of(policy)
    path = CompletionLogprobs(model)
    fast = path(model, PROMPTS, sampled.token_ids, 1.0)
    plain = plain_logprobs(model, PROMPTS, sampled.token_ids)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-4)
    for row, recorded in enumerate(sampled.logprobs):
        assert fast[row, : len(recorded)].tolist() == pytest.approx(recorded, abs=1e-4)
    mine, theirs = gradients(model, fast), gradients(model, plain)
    overall = torch.stack([part.norm() for part in theirs]).norm()
    for got, expected in zip(mine, theirs, strict=True):
        # a gradient that is zero but for rounding (a key's bias) is compared with the whole
        assert (got - expected).norm() <= 1e-4 * expected.norm() + 1e-6 * overall


@pytest.mark.parametrize("case", CASES)
def test_only_what_is_served_is_packed(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = make(case)
    path = CompletionLogprobs(policy.model)
    taken: list[str] = []
    real = plain_logprobs

    def watched(*arguments: Any) -> Tensor:
        taken.append("plain")
        return real(*arguments)

    monkeypatch.setattr("policy.logprobs.completion_logprobs.plain_logprobs", watched)
    path(policy.model, PROMPTS, sample_of(policy).token_ids, 1.0)
    assert (taken == []) == CASES[case][3]
