"""Packed log-probabilities and gradients against one plain forward per completion."""

import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.shared import shared_logprobs, why_not_shared
from policy.logprobs.token_head import token_logprobs

VOCABULARY = 61
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}
SERVED: dict[str, Callable[[], Any]] = {
    "grouped queries, tied head": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "normalised queries": lambda: Qwen3Config(**SIZES),
    "learned positions, biases": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=64
    ),
}
UNSERVED: dict[str, Callable[[], Any]] = {
    "capped attention": lambda: Gemma2Config(**SIZES),
    "bias by distance": lambda: BloomConfig(
        vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4
    ),
    "short window": lambda: MistralConfig(**SIZES, sliding_window=3),
}


def _model(config: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from zero, so that attention is not uniform
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def _batch(header: int = 5, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Three prompts with four completions each, of all kinds of lengths, some of them equal."""
    draw = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [draw.randrange(VOCABULARY) for _ in range(count)]

    shared = tokens(header)
    prompts = [shared + tokens(length) for length in (1, 4, 2)]
    completions = [tokens(length) for length in (3, 1, 6, 2, 1, 1, 5, 4, 2, 7, 1, 3)]
    completions[2][:2] = completions[0][:2]
    completions[3] = completions[0][:2]
    completions[7][:3] = completions[6][:3]
    return prompts, completions


def _one_by_one(model: Any, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
    """One forward per completion, nothing shared, nothing padded: what the numbers mean."""
    rows = []
    for index, completion in enumerate(completions):
        prompt = prompts[index * len(prompts) // len(completions)]
        logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
        predictions = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
        picked = predictions.gather(1, torch.tensor(completion)[:, None])[:, 0]
        rows.append(torch.nn.functional.pad(picked, (0, 7 - len(completion))))
    return torch.stack(rows)


def _gradients(model: Any, values: Tensor) -> dict[str, Tensor]:
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    (values * weights).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def _assert_same_gradients(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    overall = torch.stack([value.norm() for value in theirs.values()]).norm()
    for name, expected in theirs.items():
        gap = (mine[name] - expected).norm()
        # a gradient that is zero but for rounding (a key's bias) is compared with the whole
        assert gap <= 1e-4 * expected.norm() + 1e-6 * overall, name


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("header", [5, 0])
def test_packed_numbers_and_gradients_are_those_of_one_forward_per_completion(
    kind: str, header: int
) -> None:
    model = _model(SERVED[kind]())
    batch = _batch(header)
    expected = _one_by_one(model, *batch)
    got = shared_logprobs(model, *batch)
    torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-4)
    _assert_same_gradients(_gradients(model, got), _gradients(model, expected))


@pytest.mark.parametrize("most_shared", [0, 3, 256])
@pytest.mark.parametrize("seed", range(4))
def test_shared_beginnings_change_no_number(
    seed: int, most_shared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy.attention.prefix_tree.MOST_SHARED", most_shared)
    model = _model(LlamaConfig(**SIZES))
    draw = random.Random(seed)
    prompts = [[1, *(draw.randrange(2) for _ in range(draw.randint(1, 4)))] for _ in range(3)]
    # two tokens only, so that completions begin alike, contain one another or are equal
    completions = [[draw.randrange(2) for _ in range(draw.randint(1, 6))] for _ in range(18)]
    expected = _one_by_one(model, prompts, completions)
    got = shared_logprobs(model, prompts, completions)
    torch.testing.assert_close(got, expected[:, : got.shape[1]], rtol=0.0, atol=1e-4)
    _assert_same_gradients(_gradients(model, got), _gradients(model, expected[:, : got.shape[1]]))


@pytest.mark.parametrize("kind", [*SERVED, *UNSERVED])
def test_plain_numbers_are_those_of_one_forward_per_completion(kind: str) -> None:
    model = _model((SERVED | UNSERVED)[kind]())
    batch = _batch()
    expected = _one_by_one(model, *batch)
    got = plain_logprobs(model, *batch)
    torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-4)
    _assert_same_gradients(_gradients(model, got), _gradients(model, expected))


@pytest.mark.parametrize("kind", SERVED)
def test_models_with_plain_attention_are_found_fit_for_sharing(kind: str) -> None:
    assert why_not_shared(_model(SERVED[kind]())) == ""


@pytest.mark.parametrize("kind", UNSERVED)
def test_other_models_take_the_plain_path_and_say_why_once(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = _model(UNSERVED[kind]())
    batch = _batch()
    with caplog.at_level(logging.WARNING):
        path = CompletionLogprobs(model)
        for _ in range(2):
            got = path(model, *batch, 1.0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    torch.testing.assert_close(got, _one_by_one(model, *batch), rtol=0.0, atol=1e-4)


def test_a_window_longer_than_every_path_does_not_matter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = _model(MistralConfig(**SIZES, sliding_window=64))
    batch = _batch()
    got = CompletionLogprobs(model)(model, *batch, 1.0)
    assert not caplog.records
    torch.testing.assert_close(got, _one_by_one(model, *batch), rtol=0.0, atol=1e-4)


def test_a_window_shorter_than_a_path_sends_that_batch_down_the_plain_path(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = _model(MistralConfig(**SIZES, sliding_window=10))
    path = CompletionLogprobs(model)
    assert path.shares
    batch = _batch()
    got = path(model, *batch, 1.0)
    assert "window of 10" in caplog.text
    torch.testing.assert_close(got, _one_by_one(model, *batch), rtol=0.0, atol=1e-4)


def test_scaled_logits_are_noticed() -> None:
    config = AutoConfig.for_model("granite", **SIZES, logits_scaling=3.0)
    assert "would differ" in why_not_shared(_model(config))


def test_the_attention_implementation_is_put_back() -> None:
    model = _model(LlamaConfig(**SIZES))
    before = model.config._attn_implementation
    shared_logprobs(model, *_batch())
    assert model.config._attn_implementation == before
    with pytest.raises(IndexError):
        shared_logprobs(model, [[VOCABULARY + 5, 1]], [[1]])
    assert model.config._attn_implementation == before


def test_completions_of_one_token_need_no_branch_of_their_own() -> None:
    model = _model(LlamaConfig(**SIZES))
    prompts, completions = [[1, 2, 3], [1, 4]], [[5], [6], [7], [5]]
    got = shared_logprobs(model, prompts, completions)
    torch.testing.assert_close(got, plain_logprobs(model, prompts, completions), rtol=0, atol=1e-4)


def test_a_single_prompt_and_a_single_completion_are_a_batch() -> None:
    model = _model(LlamaConfig(**SIZES))
    for prompt in ([1], [1, 2, 3]):
        got = shared_logprobs(model, [prompt], [[5, 6]])
        torch.testing.assert_close(
            got, plain_logprobs(model, [prompt], [[5, 6]]), rtol=0, atol=1e-4
        )


def test_temperature_divides_the_logits_on_both_paths() -> None:
    model = _model(LlamaConfig(**SIZES))
    with torch.no_grad():
        model.lm_head.weight.mul_(2.0)
    warm = [path(model, *_batch(), temperature=2.0) for path in (shared_logprobs, plain_logprobs)]
    with torch.no_grad():
        model.lm_head.weight.div_(2.0)
    for values in warm:
        torch.testing.assert_close(values, plain_logprobs(model, *_batch()), rtol=0, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 2, 256])
def test_the_head_equals_log_softmax_with_its_gradients_at_any_chunk(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy.logprobs.token_head.CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    inputs = hidden, weight, bias = [
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((3, 4), (7, 4), (7,))
    ]
    rows = torch.tensor([0, 0, 2, 1, 0, 2])
    targets = torch.tensor([5, 5, 1, 0, 6, 1])  # a row predicts the same token twice
    got = token_logprobs(hidden, weight, bias, rows, targets, 0.7)
    expected = ((hidden @ weight.T + bias) / 0.7).log_softmax(dim=-1)[rows, targets]
    torch.testing.assert_close(got, expected)
    upstream = torch.randn(6, dtype=torch.float64, generator=generator)
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
