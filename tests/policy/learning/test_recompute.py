"""Gradient checkpointing: the same gradient, less kept, nothing dropped out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, OPTConfig

from policy.learning.checkpoint import trainable
from policy.learning.learner import Learner
from policy.learning.recompute import recomputing_layers
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.shared import shared_logprobs
from policy.model.adapter import add_adapter
from policy.model.load import Policy, load_policy
from policy.model.tiny import ARCHITECTURES
from schemas.config import LearningSettings
from schemas.errors import InputError

PROMPTS = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 11, 12]]
COMPLETIONS = [[3, 1], [4, 4, 1], [10], [3, 3, 3, 1], [1], [2, 1]]
REWARDS = [[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]


@contextmanager
def counting() -> Iterator[list[int]]:
    """The bytes of each tensor that is kept for a backward pass."""
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield kept


def gradients(model: Any, path: Callable[..., Tensor], *, recompute: bool) -> tuple[Any, int]:
    """The gradients of a weighted sum, and the bytes that were kept for them."""
    with counting() as kept:
        if recompute:
            with recomputing_layers(model):
                values = path(model, PROMPTS, COMPLETIONS)
        else:
            values = path(model, PROMPTS, COMPLETIONS)
    weights = torch.randn(values.shape, generator=torch.Generator().manual_seed(1))
    parameters = list(trainable(model).values())
    found = torch.autograd.grad((values * weights).sum(), parameters, materialize_grads=True)
    return found, sum(kept)


def assert_same_gradients(model: Any, path: Callable[..., Tensor]) -> None:
    whole, much = gradients(model, path, recompute=False)
    again, little = gradients(model, path, recompute=True)
    assert little < much
    for got, expected in zip(again, whole, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_plain_gradients_are_the_same(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    assert_same_gradients(tiny_policy(architecture).model, plain_logprobs)


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "mistral"])
def test_packed_gradients_are_the_same_though_the_attention_is_put_back_before(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    model = tiny_policy(architecture).model
    before = model.config._attn_implementation
    assert_same_gradients(model, shared_logprobs)
    assert model.config._attn_implementation == before


def test_an_adapter_s_gradients_are_the_same(tiny_folder: Callable[[str], Path]) -> None:
    model = load_policy(tiny_folder("llama"), name="llama", device="cpu").model
    add_adapter(model, rank=4, alpha=8, seed=0)
    assert_same_gradients(model, shared_logprobs)


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64),
        # its layers drop out by themselves in training mode
        OPTConfig(
            vocab_size=61,
            hidden_size=32,
            ffn_dim=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            word_embed_proj_dim=32,
            dropout=0.5,
        ),
    ],
    ids=["gpt2", "opt"],
)
def test_nothing_is_dropped_out(config: Any) -> None:
    torch.manual_seed(0)
    assert_same_gradients(AutoModelForCausalLM.from_config(config).eval(), plain_logprobs)


def test_the_layers_are_put_back(tiny_policy: Callable[[str], Policy]) -> None:
    model = tiny_policy("llama").model

    def fail_inside() -> None:
        with recomputing_layers(model):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert all("forward" not in vars(part) for part in model.modules())


@pytest.mark.parametrize("adapter", ["none", "lora"])
@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_a_learner_takes_the_same_steps_with_and_without(
    architecture: str, adapter: Any, tiny_folder: Callable[[str], Path]
) -> None:
    results = []
    for recompute in (False, True):
        policy, reference = (
            load_policy(tiny_folder(architecture), name="tiny", device="cpu") for _ in range(2)
        )
        settings = LearningSettings(
            adapter=adapter,
            gradient_checkpointing=recompute,
            max_tokens_per_pass=1 if recompute else None,
            learning_rate=1e-3,
        )
        if adapter == "lora":
            add_adapter(policy.model, rank=4, alpha=8, seed=0)
        reference_model = reference.model if adapter == "none" else None
        learner = Learner(policy, reference_model, settings, total_steps=3)
        results.append([learner.step(PROMPTS, COMPLETIONS, None, REWARDS) for _ in range(2)])
    whole, sparing = results
    for one, other in zip(whole, sparing, strict=True):
        assert (one.passes, other.passes) == (1, 3)
        assert other.loss == pytest.approx(one.loss, abs=1e-4)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-3)


def test_a_model_without_such_layers_is_refused(tiny_folder: Callable[[str], Path]) -> None:
    policy, reference = (
        load_policy(tiny_folder("llama"), name="tiny", device="cpu") for _ in range(2)
    )
    policy.model.model.layers = torch.nn.ModuleList()
    with pytest.raises(InputError, match="no layers that could be run again"):
        Learner(policy, reference.model, LearningSettings(gradient_checkpointing=True), 1)


def test_a_layer_that_was_wrapped_before_is_wrapped_as_before_again(
    tiny_folder: Callable[[str], Path],
) -> None:
    model: Any = load_policy(tiny_folder("llama"), name="llama", device="cpu").model
    layer = model.model.layers[0]
    forward = layer.forward
    layer.forward = wrapped = lambda *given, **named: forward(*given, **named)
    with recomputing_layers(model):
        assert layer.forward is not wrapped
    assert layer.forward is wrapped
