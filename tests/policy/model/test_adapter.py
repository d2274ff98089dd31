"""Adapters: they begin as nothing, come from their seed, switch off, and merge away."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config

from policy.learning.checkpoint import trainable
from policy.learning.learner import Learner
from policy.learning.step_metrics import StepMetrics
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.shared import shared_logprobs
from policy.model.adapter import add_adapter, is_adapted, merged_weights, without_adapter
from policy.model.load import Policy, load_policy
from policy.sampling.sample import sample
from schemas.config import ADAPTER_LEARNING_RATE, LearningSettings, SamplingSettings
from schemas.errors import InputError
from tests.policy.weights import digest_of_weights

PROMPTS = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 11, 12]]
COMPLETIONS = [[3, 1], [4, 4, 1], [10], [3, 3, 3, 1], [1], [2, 1]]
REWARDS = [[1.0, 0.0], [0.0, 0.0], [0.5, 1.0]]
ADAPTED = ("llama", "qwen3", "mistral", "gemma2")
Load = Callable[[str], Policy]


@pytest.fixture
def fresh(tiny_folder: Callable[[str], Path]) -> Load:
    """The tiny model of an architecture, loaded anew, for the test to change."""
    return lambda architecture: load_policy(
        tiny_folder(architecture), name=architecture, device="cpu"
    )


def adapted(policy: Policy, *, seed: int = 0, active: bool = False) -> Policy:
    """The policy with an adapter; an active one has moved away from zero."""
    add_adapter(policy.model, rank=4, alpha=8, seed=seed)
    if active:
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad():
            for parameter in trainable(policy.model).values():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return policy


def learner(policy: Policy, **settings: Any) -> Learner:
    chosen: dict[str, Any] = {"adapter": "lora", "schedule": "constant", "learning_rate": 1e-2}
    return Learner(policy, None, LearningSettings(**chosen | settings), total_steps=6)


def step(made: Learner, rewards: Sequence[Sequence[float]] = REWARDS) -> StepMetrics:
    return made.step(PROMPTS, COMPLETIONS, None, rewards)


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(torch.tensor([PROMPTS[2]])).logits
    return found


def frozen(model: Any) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}


@pytest.mark.parametrize("architecture", ADAPTED)
def test_every_linear_layer_but_the_output_is_adapted_and_nothing_else_learns(
    architecture: str, fresh: Load
) -> None:
    policy = fresh(architecture)
    expected = {
        f"{name}.lora_{half}.default.weight"
        for name, module in policy.model.named_modules()
        if isinstance(module, torch.nn.Linear) and name != "lm_head"
        for half in "AB"
    }
    before = logits(policy.model)
    adapted(policy)
    assert trainable(policy.model).keys() == expected
    assert torch.equal(logits(policy.model), before), "B is zero"
    assert not policy.model.training


def test_the_seed_alone_decides_the_adapter(fresh: Load) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one = digest_of_weights(adapted(fresh("llama"), seed=3).model)
    assert torch.equal(torch.rand(3), expected), "global random state is left alone"
    assert digest_of_weights(adapted(fresh("llama"), seed=3).model) == one
    assert digest_of_weights(adapted(fresh("llama"), seed=4).model) != one


def test_switched_off_it_is_the_model_that_it_was_bit_for_bit(fresh: Load) -> None:
    policy = fresh("llama")
    before = logits(policy.model)
    adapted(policy, active=True)
    learning = set(trainable(policy.model))
    moved = logits(policy.model)
    assert not torch.equal(moved, before)
    with without_adapter(policy.model):
        assert torch.equal(logits(policy.model), before)
    assert torch.equal(logits(policy.model), moved)
    assert set(trainable(policy.model)) == learning


def test_it_is_switched_on_again_after_an_error(fresh: Load) -> None:
    policy = adapted(fresh("llama"), active=True)
    moved = logits(policy.model)

    def fail_inside() -> None:
        with without_adapter(policy.model):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert torch.equal(logits(policy.model), moved)


@pytest.mark.parametrize("architecture", ADAPTED)
def test_merged_weights_are_a_plain_model_of_the_same_numbers(
    architecture: str, fresh: Load
) -> None:
    policy = fresh(architecture)
    names = policy.model.state_dict().keys()
    adapted(policy, active=True)
    before = digest_of_weights(policy.model)
    weights = merged_weights(policy.model)
    assert weights.keys() == names
    assert digest_of_weights(policy.model) == before
    plain = fresh(architecture)
    plain.model.load_state_dict(weights)
    torch.testing.assert_close(logits(plain.model), logits(policy.model), rtol=0, atol=1e-4)


def test_transposed_layers_are_merged_the_right_way_round() -> None:
    config = GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    plain = copy.deepcopy(model)
    add_adapter(model, rank=4, alpha=8, seed=0)
    with torch.no_grad():
        for parameter in trainable(model).values():
            parameter.add_(0.05)
    plain.load_state_dict(merged_weights(model))
    torch.testing.assert_close(logits(plain), logits(model), rtol=0, atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_the_packed_pass_gives_the_plain_numbers_and_gradients(
    architecture: str, fresh: Load
) -> None:
    model = adapted(fresh(architecture), active=True).model
    parameters = list(trainable(model).values())
    assert CompletionLogprobs(model).shares
    packed = shared_logprobs(model, PROMPTS, COMPLETIONS)
    plain = plain_logprobs(model, PROMPTS, COMPLETIONS)
    torch.testing.assert_close(packed, plain, rtol=0, atol=1e-4)
    weights = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    mine, theirs = (
        torch.autograd.grad((values * weights).sum(), parameters) for values in (packed, plain)
    )
    for got, expected in zip(mine, theirs, strict=True):
        assert expected.norm() > 0
        assert (got - expected).norm() <= 1e-4 * expected.norm()


def test_the_fast_sampler_samples_the_adapted_policy(fresh: Load) -> None:
    policy = adapted(fresh("llama"), active=True)
    settings = SamplingSettings(max_new_tokens=6)
    sampled = sample(policy, PROMPTS, samples=4, settings=settings, seed=0)
    assert sampled.decoder == "shared"
    with torch.no_grad():
        recomputed = plain_logprobs(policy.model, PROMPTS, sampled.token_ids)
    for row, recorded in enumerate(sampled.logprobs):
        assert recomputed[row, : len(recorded)].tolist() == pytest.approx(recorded, abs=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_only_the_adapter_learns_and_the_reference_stays(architecture: str, fresh: Load) -> None:
    policy = adapted(fresh(architecture))
    before = frozen(policy.model)
    made = learner(policy)
    first = step(made)
    assert first.kl_nats == pytest.approx(0.0, abs=1e-6)
    assert first.gradient_norm > 0
    for _ in range(3):
        last = step(made)
    assert last.kl_nats_k3 > 1e-5
    assert last.loss < first.loss
    for name, weight in before.items():
        assert torch.equal(policy.model.get_parameter(name), weight)


def test_the_reference_is_what_a_second_copy_would_be(fresh: Load) -> None:
    one = learner(adapted(fresh("llama")))
    settings = one.settings
    two = Learner(adapted(fresh("llama")), fresh("llama").model, settings, total_steps=6)
    for _ in range(3):
        assert step(one) == step(two)
    assert digest_of_weights(one.policy.model) == digest_of_weights(two.policy.model)


def test_six_steps_equal_three_saved_loaded_and_three_more_byte_for_byte(
    fresh: Load, tmp_path: Path
) -> None:
    straight = learner(adapted(fresh("llama")))
    metrics = [step(straight) for _ in range(6)]

    first = learner(adapted(fresh("llama")))
    for _ in range(3):
        step(first)
    first.save(tmp_path / "checkpoint")
    resumed = learner(adapted(fresh("llama")))
    resumed.load(tmp_path / "checkpoint")
    assert [step(resumed) for _ in range(3)] == metrics[3:]
    assert digest_of_weights(resumed.policy.model) == digest_of_weights(straight.policy.model)
    straight.export(tmp_path / "a")
    resumed.export(tmp_path / "b")
    name = "model.safetensors"
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_checkpoint_holds_the_adapter_alone(fresh: Load, tmp_path: Path) -> None:
    made = learner(adapted(fresh("llama")))
    step(made)
    made.save(tmp_path / "checkpoint")
    saved = load_file(tmp_path / "checkpoint" / "weights.safetensors")
    assert saved.keys() == trainable(made.policy.model).keys()


def test_a_checkpoint_is_refused_beside_other_weights_or_another_rank(
    fresh: Load, tmp_path: Path
) -> None:
    learner(adapted(fresh("llama"))).save(tmp_path / "checkpoint")
    elsewhere = adapted(fresh("llama"))
    elsewhere.digest = "f" * 64
    with pytest.raises(InputError, match="another start"):
        learner(elsewhere).load(tmp_path / "checkpoint")
    with pytest.raises(InputError, match="another settings"):
        learner(adapted(fresh("llama")), lora_rank=8).load(tmp_path / "checkpoint")


@pytest.mark.parametrize("architecture", ADAPTED)
def test_an_exported_folder_is_a_plain_policy(
    architecture: str, fresh: Load, tmp_path: Path
) -> None:
    made = learner(adapted(fresh(architecture)))
    for _ in range(3):
        step(made)
    before = digest_of_weights(made.policy.model)
    made.export(tmp_path / "exported")
    assert digest_of_weights(made.policy.model) == before
    assert not list((tmp_path / "exported").glob("adapter*"))
    plain = load_policy(tmp_path / "exported", name="exported", device="cpu")
    assert not is_adapted(plain.model)
    torch.testing.assert_close(logits(plain.model), logits(made.policy.model), rtol=0, atol=1e-4)
    assert not torch.equal(logits(plain.model), logits(fresh(architecture).model))


def test_a_model_without_an_adapter_needs_a_reference(fresh: Load) -> None:
    with pytest.raises(InputError, match="needs a reference"):
        learner(fresh("llama"))


def test_a_model_without_linear_layers_cannot_be_adapted(fresh: Load) -> None:
    policy = fresh("llama")
    for layer in policy.model.model.layers:
        layer.self_attn = layer.mlp = torch.nn.Identity()
    with pytest.raises(InputError, match="peft cannot adapt LlamaForCausalLM"):
        adapted(policy)


def test_the_default_learning_rate_is_the_adapter_s_own() -> None:
    assert LearningSettings().learning_rate == 2e-5
    assert LearningSettings(adapter="lora").learning_rate == ADAPTER_LEARNING_RATE == 2e-4
    given = LearningSettings(adapter="lora", learning_rate=1e-3)
    assert given.learning_rate == 1e-3
    assert LearningSettings.model_validate(given.model_dump()) == given
