"""Small models of several classes, a batch, and its log-probabilities one forward at a time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen3Config,
)

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


def model_of(config: Any) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # far from zero, so that attention is not uniform
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def batch_of(common: int = 5, seed: int = 0) -> tuple[list[list[int]], list[list[int]]]:
    """Three prompts with four completions each, of all kinds of lengths, some of them equal."""
    rng = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(count)]

    prefix = tokens(common)
    prompts = [prefix + tokens(length) for length in (1, 4, 2)]
    completions = [tokens(length) for length in (3, 1, 6, 2, 1, 1, 5, 4, 2, 7, 1, 3)]
    completions[2][:2] = completions[0][:2]
    completions[3] = completions[0][:2]
    completions[7][:3] = completions[6][:3]
    return prompts, completions


def one_by_one(model: Any, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
    """One forward per completion, nothing shared, nothing padded: what the numbers mean."""
    rows = []
    for index, completion in enumerate(completions):
        prompt = prompts[index * len(prompts) // len(completions)]
        logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0]
        predictions = logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
        picked = predictions.gather(1, torch.tensor(completion)[:, None])[:, 0]
        rows.append(torch.nn.functional.pad(picked, (0, 7 - len(completion))))
    return torch.stack(rows)


def gradients_of(model: Any, values: Tensor) -> dict[str, Tensor]:
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    (values * weights).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def assert_same_gradients(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert mine.keys() == theirs.keys()
    overall = torch.stack([value.norm() for value in theirs.values()]).norm()
    for name, expected in theirs.items():
        gap = (mine[name] - expected).norm()
        # a gradient that is zero but for rounding (a key's bias) is compared with the whole
        assert gap <= 1e-4 * expected.norm() + 1e-6 * overall, name
