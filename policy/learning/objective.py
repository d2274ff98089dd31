"""The objective as tensor functions: advantages, the policy-gradient loss and the KL penalty.

The objective is E[reward] − β·KL(policy ‖ reference), per problem, with completions sampled from
the policy. With the defaults of `schemas.config.LearningSettings` (baseline `leave_one_out`, `k1`
in the reward, reduction `sequence`) the gradient of `completion_losses(...).mean()` is an unbiased
estimate of minus its gradient: REINFORCE (Williams, 1992) on whole completions, as in Ahmadian et
al., "Back to Basics", 2024. The other settings change the objective, each as its docstring says.

On policy there is no importance ratio: a batch is used for one update of the policy that sampled
it, so the ratio is 1, and clipping it (PPO, GRPO) would have no effect. Where a server sampled from
an earlier policy, `importance_weights` stand in its place, truncated.

Axes: B problems, N completions of each, T tokens of the longest completion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from policy.learning.divergence import completion_divergence
from schemas.config import GROUP_BASELINES, Baseline, LearningSettings, LossReduction
from schemas.errors import InputError

DEVIATION_FLOOR = 1e-4  # reward units; keeps a group of equal rewards at advantage 0


@dataclass(frozen=True)
class RunningMean:
    """The mean of the signal over all earlier completions, and their number."""

    mean: float = 0.0
    count: int = 0

    def updated(self, signal: Tensor) -> RunningMean:
        """The state after the completions of `signal`, to be used from the next step on."""
        count = self.count + signal.numel()
        total = self.mean * self.count + float(signal.double().sum())
        return RunningMean(total / count, count)


class Objective(NamedTuple):
    """What `completion_losses` computed; all [B, N], and all but `losses` without gradient.

    `penalties` are the KL penalty in nats, before β; `baselines` see `subtracted_baselines`.
    """

    losses: Tensor
    advantages: Tensor
    signal: Tensor
    baselines: Tensor
    penalties: Tensor


def advantages(signal: Tensor, baseline: Baseline, running_mean: float = 0.0) -> Tensor:
    """Signal minus baseline, [B, N] from [B, N]; the signal is reward minus penalty.

    - `none`: the signal itself. Unbiased.
    - `running_mean`: minus the mean over earlier steps (Williams, 1992). It does not depend on
      this step's completions, hence unbiased.
    - `leave_one_out`: minus the mean of the problem's other N − 1 completions (Kool et al., "Buy 4
      REINFORCE Samples, Get a Baseline for Free!", 2019). Unbiased.
    - `group_mean`: minus the mean of all N, the completion itself included, which shrinks the
      expected gradient by (N − 1)/N and leaves its direction (Liu et al., "Understanding
      R1-Zero-Like Training", 2025).
    - `group_normalized`: the same, divided by the group's standard deviation (divisor N − 1) plus
      `DEVIATION_FLOOR` (GRPO; Shao et al., 2024). It reweights problems: for a reward
      of 0 or 1 and large N, a problem solved with probability p counts 1/√(p(1 − p)) times, so
      problems that are nearly always or nearly never solved weigh most (Liu et al., 2025).

    Raises InputError when N = 1 and the baseline is the group's.
    """
    samples = signal.shape[-1]
    if baseline in GROUP_BASELINES and samples < 2:
        raise InputError(
            f"the baseline {baseline} compares the completions of a problem, but there is only one",
            remedy="sample at least 2 a problem, or use the baseline running_mean",
        )
    if baseline == "none":
        return signal
    if baseline == "running_mean":
        return signal - running_mean
    centred = signal - signal.mean(dim=-1, keepdim=True)
    if baseline == "leave_one_out":
        return centred * (samples / (samples - 1))
    if baseline == "group_mean":
        return centred
    return centred / (signal.std(dim=-1, keepdim=True) + DEVIATION_FLOOR)


def subtracted_baselines(signal: Tensor, baseline: Baseline, running_mean: float = 0.0) -> Tensor:
    """What `advantages` subtracts from the signal, [B, N], before it divides by anything."""
    samples = signal.shape[-1]
    if baseline == "none":
        return torch.zeros_like(signal)
    if baseline == "running_mean":
        return torch.full_like(signal, running_mean)
    total = signal.sum(dim=-1, keepdim=True)
    if baseline == "leave_one_out":
        return (total - signal) / (samples - 1)
    return (total / samples).expand_as(signal)


def penalised_advantages(
    rewards: Tensor,
    penalty: Tensor,
    kl_weight: float,
    baseline: Baseline,
    running_mean: float = 0.0,
) -> Tensor:
    """Advantages [B, N] of the signal reward − β·penalty, the penalty [B, N] being in nats.

    Under `group_normalized` only the rewards are divided by their deviation, and the penalty gets a
    leave-one-out baseline. In a group of equal rewards the deviation would be that of the penalty,
    and dividing by it would make β = 10⁻⁶ as strong as β = 1.
    """
    if baseline == "group_normalized":
        penalty_part = advantages(penalty, "leave_one_out")
        return advantages(rewards, baseline) - kl_weight * penalty_part
    return advantages(rewards - kl_weight * penalty, baseline, running_mean)


def importance_weights(
    logprobs: Tensor, sampled: Tensor, mask: Tensor, cap: float, grain: LossReduction
) -> Tensor:
    """min(π/μ, cap) of each token, [B, N, T] and without gradient; 1 where there is no token.

    `logprobs` are those of π, the policy that learns, and `sampled` those of μ, from which the
    completions were drawn, in nats. Both are [B, N, T].

    - `sequence`: every token has the ratio of the whole completion, truncated (Ionides, "Truncated
      Importance Sampling", 2008). With a cap that no ratio reaches the gradient is unbiased.
    - `token`: each token has its own ratio, truncated (Yao et al., "Your Efficient RL Framework
      Secretly Brings You Off-Policy RL Training", 2025). What came before a token stays as μ drew
      it, which no cap makes good.

    A lower cap means less variance and more bias: what μ drew too seldom counts too little.
    """
    log_ratio = (logprobs.detach() - sampled).masked_fill(~mask, 0.0)
    if grain == "sequence":
        log_ratio = log_ratio.sum(dim=-1, keepdim=True).expand_as(log_ratio)
    weights = log_ratio.clamp(max=math.log(cap)).exp()
    return weights.masked_fill(~mask, 1.0)


def policy_gradient_losses(
    logprobs: Tensor,
    mask: Tensor,
    advantages: Tensor,
    reduction: LossReduction,
    weights: Tensor | None = None,
) -> Tensor:
    """−advantage × log-probability of each completion, [B, N], from token logprobs [B, N, T].

    - `sequence`: the sum over the completion's tokens, log π(y). Unbiased.
    - `token`: that sum over the completion's length |y| (Shao et al., 2024, equation 3). It follows
      the gradient of E[(reward − b)/|y|], with b the expected baseline held fixed, instead of
      E[reward]: among right answers the short ones gain most, among wrong ones the long ones
      lose least (Liu et al., 2025).

    Each token's log-probability counts as often as its weight, of `importance_weights`.
    """
    scale = advantages.detach()
    if reduction == "token":
        scale = scale / mask.sum(dim=-1)
    if weights is not None:
        logprobs = logprobs * weights
    return -scale * logprobs.masked_fill(~mask, 0.0).sum(dim=-1)


def completion_losses(
    logprobs: Tensor,
    reference_logprobs: Tensor,
    mask: Tensor,
    rewards: Tensor,
    settings: LearningSettings,
    running_mean: float = 0.0,
    weights: Tensor | None = None,
) -> Objective:
    """One loss per completion, [B, N]; the loss of a step is their mean.

    `logprobs` and `reference_logprobs` [B, N, T] are the log-probabilities in nats of the sampled
    tokens, `mask` is true on them, `rewards` is [B, N]. Gradient flows only through `logprobs`.
    Of the settings this reads the baseline, the reduction and the three of the KL penalty. The
    reduction is also the grain of the KL estimator: a whole completion or one token at a time. For
    `token`, a penalty in the loss is divided by the length like the rest of the loss. `weights` are
    those of `importance_weights`, None on policy.
    """
    # the divergence of each completion from the reference, as the estimator sees it
    log_ratio = logprobs - reference_logprobs.detach()
    penalty = completion_divergence(log_ratio, mask, settings.kl_estimator, settings.reduction)

    # a penalty in the reward is a number that is subtracted before the baseline
    in_reward = settings.kl_weight if settings.kl_placement == "reward" else 0.0
    signal = rewards - in_reward * penalty.detach()
    gains = penalised_advantages(
        rewards, penalty.detach(), in_reward, settings.baseline, running_mean
    )
    # under `group_normalized` the penalty has a baseline of its own
    centred = rewards if settings.baseline == "group_normalized" else signal
    baselines = subtracted_baselines(centred, settings.baseline, running_mean)
    losses = policy_gradient_losses(logprobs, mask, gains, settings.reduction, weights)

    # a penalty in the loss is differentiated as it stands
    if settings.kl_placement == "loss" and settings.kl_weight > 0:
        scale = 1.0 if settings.reduction == "sequence" else 1.0 / mask.sum(dim=-1)
        seen = completion_divergence(
            log_ratio, mask, settings.kl_estimator, settings.reduction, weights
        )
        losses = losses + settings.kl_weight * seen * scale
    return Objective(losses, gains, signal, baselines, penalty.detach())


def groups_with_signal(rewards: Tensor) -> Tensor:
    """[B] booleans: whether the completions of a problem earned different rewards, [B, N]."""
    return (rewards != rewards[:, :1]).any(dim=-1)


def groups_with_gradient(rewards: Tensor, baseline: Baseline, kl_weight: float) -> Tensor:
    """[B] booleans: false where the gradient of a group is zero for any policy.

    That is so only for equal rewards, a baseline from the group itself and β = 0. With β > 0 such
    a group still has its share of the KL gradient, and leaving it out would bias the gradient.
    """
    if kl_weight == 0 and baseline in GROUP_BASELINES:
        return groups_with_signal(rewards)
    return torch.ones(len(rewards), dtype=torch.bool, device=rewards.device)
