"""The gradient of the objective on one batch, added up over as many passes as memory asks for.

It changes no weight and keeps no state but the parameters' `.grad`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy.learning.divergence import k1
from policy.learning.objective import Objective, completion_losses, groups_with_gradient
from policy.learning.recompute import recomputing_layers
from policy.learning.step_batch import StepBatch
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.model.adapter import without_adapter
from policy.model.passes import plan_passes
from schemas.config import LearningSettings


@dataclass(frozen=True)
class Outcome:
    """What the passes computed, without gradient: log-probabilities [B, N, T], the rest [B, N]."""

    logprobs: Tensor
    reference_logprobs: Tensor
    losses: Tensor
    advantages: Tensor
    signal: Tensor
    passes: int

    @property
    def loss(self) -> float:
        """The mean over completions: what the gradient is of."""
        return self.losses.mean().item()

    @property
    def log_ratio(self) -> Tensor:
        """log π − log ρ of each token, [B, N, T], in float64; 0 where there is no token."""
        return self.logprobs.double() - self.reference_logprobs.double()

    @property
    def kl_nats(self) -> float:
        """The mean over completions of the whole completion's log-ratio (k1), in nats."""
        return k1(self.log_ratio).sum().item() / self.losses.numel()


def accumulate_gradient(
    batch: StepBatch,
    model: PreTrainedModel,
    reference_model: PreTrainedModel | None,
    path: CompletionLogprobs,
    settings: LearningSettings,
    *,
    running_mean: float,
    temperature: float,
    tokens_per_pass: int,
) -> Outcome:
    """Add the gradient of the batch's mean loss to the parameters' and return what was computed.

    Without a reference model, the reference is the model without its adapter.

    Groups whose gradient is zero whatever the policy (`groups_with_gradient`) are only measured.
    """
    mask = batch.mask
    logprobs = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    reference_logprobs = torch.zeros_like(logprobs)
    losses, advantages, signal = (torch.zeros_like(batch.rewards) for _ in range(3))

    sizes = path.sizes(batch.prompts, batch.completions)
    live = groups_with_gradient(batch.rewards, settings.baseline, settings.kl_weight)
    passes = 0
    for learn in (True, False):
        groups = (live == learn).nonzero()[:, 0].tolist()
        for chosen in plan_passes(sizes, groups, tokens_per_pass):
            part = batch.only(chosen)
            keeping_less = learn and settings.gradient_checkpointing
            recomputing = recomputing_layers(model) if keeping_less else nullcontext()
            with torch.set_grad_enabled(learn), recomputing:
                mine = _logprobs(path, model, part, temperature)
            with torch.no_grad(), _reference(model, reference_model) as reference:
                theirs = _logprobs(path, reference, part, temperature)
            objective = _objective(mine, theirs, part, settings, running_mean)
            if learn:
                torch.autograd.backward(objective.losses.sum() / batch.rewards.numel())
            longest = mine.shape[-1]
            logprobs[chosen, :, :longest] = mine.detach()
            reference_logprobs[chosen, :, :longest] = theirs
            losses[chosen] = objective.losses.detach()
            advantages[chosen], signal[chosen] = objective.advantages, objective.signal
            passes += 1
    return Outcome(logprobs, reference_logprobs, losses, advantages, signal, passes)


@contextmanager
def _reference(
    model: PreTrainedModel, reference_model: PreTrainedModel | None
) -> Iterator[PreTrainedModel]:
    if reference_model is not None:
        yield reference_model
    else:
        with without_adapter(model):
            yield model


def _logprobs(
    path: CompletionLogprobs, model: PreTrainedModel, part: StepBatch, temperature: float
) -> Tensor:
    flat = path(model, part.prompts, part.completions, temperature)
    return flat.view(part.mask.shape)


def _objective(
    mine: Tensor,
    theirs: Tensor,
    part: StepBatch,
    settings: LearningSettings,
    running_mean: float,
) -> Objective:
    return completion_losses(
        mine,
        theirs,
        part.mask,
        part.rewards,
        baseline=settings.baseline,
        kl_weight=settings.kl_weight,
        kl_estimator=settings.kl_estimator,
        kl_placement=settings.kl_placement,
        reduction=settings.reduction,
        running_mean=running_mean,
    )


def gradients_of(parameters: Sequence[torch.nn.Parameter]) -> list[Tensor]:
    """The accumulated gradients; zero for a parameter that no pass has reached."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
