"""The gradient in passes against one loss over the whole batch, differentiated at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from policy.learning.checkpoint import trainable
from policy.learning.gradient import (
    Outcome,
    PolicyAndReference,
    accumulate_gradient,
    gradients_of,
)
from policy.learning.objective import completion_losses
from policy.learning.step_batch import StepBatch, step_batch
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.logprobs.plain import plain_logprobs
from policy.model.adapter import add_adapter, without_adapter
from policy.model.load import load_policy
from schemas.config import LearningSettings

PROMPTS = [[5, 6, 7, 8], [5, 6, 9], [5, 6, 7, 11, 12]]
COMPLETIONS = [[3, 1], [4, 4, 1], [10], [3, 3, 3, 1], [1], [2, 1]]
REWARDS = [[1.0, 0.0], [1.0, 1.0], [0.5, 1.0]]
TEMPERATURE = 0.8


def batch() -> StepBatch:
    return step_batch(PROMPTS, COMPLETIONS, REWARDS, torch.device("cpu"))


def models(folder: Path, *, adapter: bool) -> PolicyAndReference:
    """A policy that differs from its reference."""
    policy, reference = (load_policy(folder, name="tiny", device="cpu").model for _ in range(2))
    if adapter:
        add_adapter(policy, rank=2, alpha=4, seed=0)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for weight in trainable(policy).values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.02)
    compute = CompletionLogprobs(policy)
    return PolicyAndReference(policy, None if adapter else reference, compute, TEMPERATURE)


def at_once(used: PolicyAndReference, settings: LearningSettings) -> tuple[Any, list[Tensor]]:
    """The objective of the whole batch by the plain path, and its gradient."""
    whole = batch()

    def logprobs(model: Any) -> Tensor:
        return plain_logprobs(model, PROMPTS, COMPLETIONS, TEMPERATURE).view(whole.mask.shape)

    with torch.no_grad():
        if used.reference is None:
            with without_adapter(used.policy):
                theirs = logprobs(used.policy)
        else:
            theirs = logprobs(used.reference)
    mine = logprobs(used.policy)
    objective = completion_losses(mine, theirs, whole.mask, whole.rewards, settings, 0.25)
    parameters = list(trainable(used.policy).values())
    gradients = torch.autograd.grad(objective.losses.mean(), parameters, materialize_grads=True)
    return objective, list(gradients)


def in_passes(
    used: PolicyAndReference, settings: LearningSettings, tokens: int
) -> tuple[Outcome, list[Tensor]]:
    found = accumulate_gradient(batch(), used, settings, running_mean=0.25, tokens_per_pass=tokens)
    return found, gradients_of(list(trainable(used.policy).values()))


@pytest.mark.parametrize("tokens", [1, 10**6])
@pytest.mark.parametrize("adapter", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        LearningSettings(kl_weight=0.5),
        LearningSettings(kl_weight=0.5, kl_estimator="k3", kl_placement="loss", reduction="token"),
        LearningSettings(baseline="running_mean", kl_weight=0.0),
    ],
    ids=["default", "k3 in the loss", "running mean"],
)
def test_several_passes_add_up_to_the_gradient_of_the_mean_loss(
    settings: LearningSettings,
    adapter: bool,
    tokens: int,
    tiny_folder: Callable[[str], Path],
) -> None:
    used = models(tiny_folder("llama"), adapter=adapter)
    objective, expected = at_once(used, settings)
    outcome, gradients = in_passes(used, settings, tokens)
    assert outcome.passes == (3 if tokens == 1 else 1)
    close: Any = {"rtol": 1e-3, "atol": 1e-4}
    for name in ("losses", "advantages", "signal"):
        torch.testing.assert_close(
            getattr(outcome, name), getattr(objective, name).detach(), **close
        )
    assert outcome.loss == pytest.approx(objective.losses.mean().item(), abs=1e-4)
    overall = torch.stack([part.norm() for part in expected]).norm()
    for mine, theirs in zip(gradients, expected, strict=True):
        assert (mine - theirs).norm() <= 1e-3 * theirs.norm() + 1e-4 * overall


def test_a_group_without_gradient_is_measured_all_the_same(
    tiny_folder: Callable[[str], Path],
) -> None:
    settings = LearningSettings(kl_weight=0.0)
    used = models(tiny_folder("llama"), adapter=False)
    objective, expected = at_once(used, settings)
    outcome, gradients = in_passes(used, settings, 10**6)
    assert outcome.passes == 2, "the second problem has equal rewards and goes apart"
    assert outcome.losses[1].tolist() == [0.0, 0.0]
    assert outcome.logprobs[1].abs().sum() > 0
    torch.testing.assert_close(outcome.losses, objective.losses.detach(), rtol=0, atol=1e-4)
    overall = torch.stack([part.norm() for part in expected]).norm()
    for mine, theirs in zip(gradients, expected, strict=True):
        assert (mine - theirs).norm() <= 1e-3 * theirs.norm() + 1e-4 * overall


def test_kl_is_the_mean_log_ratio_of_whole_completions(tiny_folder: Callable[[str], Path]) -> None:
    used = models(tiny_folder("llama"), adapter=False)
    outcome, _ = in_passes(used, LearningSettings(), 10**6)
    ratio = outcome.logprobs.double() - outcome.reference_logprobs.double()
    assert outcome.kl_nats == pytest.approx(float(ratio.sum(dim=-1).mean()))
    assert outcome.kl_nats != 0.0


def test_a_parameter_that_no_pass_reached_has_a_gradient_of_zero() -> None:
    reached, untouched = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    (3 * reached).sum().backward()
    gradients = gradients_of([reached, untouched])
    assert [gradient.tolist() for gradient in gradients] == [[3.0, 3.0], [0.0, 0.0]]
