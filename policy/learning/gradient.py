"""The gradient of the objective on one batch, summed over as many passes as memory needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy.learning.divergence import k1
from policy.learning.objective import completion_losses, groups_with_gradient, importance_weights
from policy.learning.recompute import recomputing_layers
from policy.learning.step_batch import StepBatch
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.logprobs.shared import KeptPrefixes
from policy.model.adapter import without_adapter
from policy.model.passes import plan_passes
from schemas.config import LearningSettings

EqualPasses = Callable[[Sequence[int]], Sequence[int]]


@dataclass(frozen=True)
class PolicyAndReference:
    """The policy that learns, its reference, and how their log-probabilities are computed.

    Where `reference` is None, the reference is the policy without its adapter.
    """

    policy: PreTrainedModel
    reference: PreTrainedModel | None
    compute: CompletionLogprobs
    temperature: float
    prefixes: KeptPrefixes = field(default_factory=KeptPrefixes)  # of the reference

    def policy_logprobs(self, batch: StepBatch) -> Tensor:
        """Token log-probabilities [B, N, T] in nats under the policy."""
        return self._logprobs(self.policy, batch)

    def reference_logprobs(self, batch: StepBatch) -> Tensor:
        """Token log-probabilities [B, N, T] in nats under the reference, without gradient."""
        with torch.no_grad(), self._reference_model() as model:
            return self._logprobs(model, batch, self.prefixes)

    def _logprobs(
        self, model: PreTrainedModel, batch: StepBatch, kept: KeptPrefixes | None = None
    ) -> Tensor:
        flat = self.compute(model, batch.prompts, batch.completions, self.temperature, kept)
        return flat.view(batch.mask.shape)

    @contextmanager
    def _reference_model(self) -> Iterator[PreTrainedModel]:
        if self.reference is not None:
            yield self.reference
        else:
            with without_adapter(self.policy):
                yield self.policy


@dataclass(frozen=True)
class Outcome:
    """What the passes computed, without gradient: log-probabilities [B, N, T], the rest [B, N].

    `baselines` and `penalties` are those of `objective.Objective`.
    """

    logprobs: Tensor
    reference_logprobs: Tensor
    losses: Tensor
    advantages: Tensor
    signal: Tensor
    baselines: Tensor
    penalties: Tensor
    passes: int

    @property
    def loss(self) -> float:
        """The mean over completions, whose gradient was taken."""
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
    models: PolicyAndReference,
    settings: LearningSettings,
    *,
    running_mean: float,
    tokens_per_pass: int,
    completions: int | None = None,
    equal_passes: EqualPasses | None = None,
    cap: float | None = None,
) -> Outcome:
    """Add the gradient of the batch's mean loss to the parameters' and return what was computed.

    Groups whose gradient is zero for any policy (`groups_with_gradient`) are only measured. Where
    the batch is a part of one with so many `completions`, it is the part's share in the mean.

    Where a pass through the models is one of several processes, `equal_passes` says how many of
    each kind all make, from how many this one needs; those that are left over change nothing.

    With a `cap`, the batch was drawn from the policy of its `sampled`, and is weighted.
    """
    completions = completions or batch.rewards.numel()
    mask = batch.mask
    logprobs = torch.zeros(mask.shape, dtype=torch.float32, device=mask.device)
    reference_logprobs = torch.zeros_like(logprobs)
    losses, advantages, signal, baselines, penalties = (
        torch.zeros_like(batch.rewards) for _ in range(5)
    )

    # first the groups with a gradient, then the others; each in passes that fit into memory
    sizes = models.compute.sizes(batch.prompts, batch.completions)
    live = groups_with_gradient(batch.rewards, settings.baseline, settings.kl_weight)
    passes = 0
    plans = [
        plan_passes(sizes, (live == learn).nonzero()[:, 0].tolist(), tokens_per_pass)
        for learn in (True, False)
    ]
    counts = equal_passes([len(plan) for plan in plans]) if equal_passes else (0, 0)
    for learn, plan, count in zip((True, False), plans, counts, strict=True):
        for chosen in plan:
            part = batch.only(chosen)

            # the policy with gradient, the reference without
            keeping_less = learn and settings.gradient_checkpointing
            recomputing = recomputing_layers(models.policy) if keeping_less else nullcontext()
            with torch.set_grad_enabled(learn), recomputing:
                mine = models.policy_logprobs(part)
            theirs = models.reference_logprobs(part)
            weights = None
            if cap is not None and part.sampled is not None:
                weights = importance_weights(mine, part.sampled, part.mask, cap, settings.reduction)
            objective = completion_losses(
                mine, theirs, part.mask, part.rewards, settings, running_mean, weights
            )

            # divide by the completions of the whole batch: the passes then add up to its mean
            if learn:
                torch.autograd.backward(objective.losses.sum() / completions)

            # put the numbers of this part in their places; its tokens may be fewer than T
            longest = mine.shape[-1]
            logprobs[chosen, :, :longest] = mine.detach()
            reference_logprobs[chosen, :, :longest] = theirs
            losses[chosen] = objective.losses.detach()
            advantages[chosen], signal[chosen] = objective.advantages, objective.signal
            baselines[chosen], penalties[chosen] = objective.baselines, objective.penalties
            passes += 1
        for _ in range(count - len(plan)):
            _pass_for_others(batch.only([0]), models, settings, learn=learn)
    return Outcome(
        logprobs=logprobs,
        reference_logprobs=reference_logprobs,
        losses=losses,
        advantages=advantages,
        signal=signal,
        baselines=baselines,
        penalties=penalties,
        passes=passes,
    )


def _pass_for_others(
    part: StepBatch, models: PolicyAndReference, settings: LearningSettings, *, learn: bool
) -> None:
    """Run the models as a pass does, with a gradient of zero."""
    recomputing = learn and settings.gradient_checkpointing
    again = recomputing_layers(models.policy) if recomputing else nullcontext()
    with torch.set_grad_enabled(learn), again:
        mine = models.policy_logprobs(part)
    models.reference_logprobs(part)
    if learn:
        torch.autograd.backward(mine.sum() * 0.0)


def gradients_of(parameters: Sequence[torch.nn.Parameter]) -> list[Tensor]:
    """The accumulated gradients; zero for a parameter that no pass has reached."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
