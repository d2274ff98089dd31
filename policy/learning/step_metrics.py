"""What one update measured, as plain numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from policy.learning.divergence import k3
from policy.learning.gradient import Outcome
from policy.learning.objective import groups_with_signal
from policy.learning.step_batch import StepBatch


@dataclass(frozen=True)
class CompletionNumbers:
    """Numbers of each completion of an update, row by row: B·N of each, in the batch's order.

    - `baselines`, `advantages`: see `objective`; in units of reward.
    - `kl_penalties`: the KL penalty's estimate in nats, before it is weighted with β.
    - `sum_logprobs`, `sum_logprobs_reference`: the log-probability of the whole completion in nats,
      under the policy before the update and under the reference.
    """

    baselines: list[float]
    advantages: list[float]
    kl_penalties: list[float]
    sum_logprobs: list[float]
    sum_logprobs_reference: list[float]


@dataclass(frozen=True)
class StepMetrics:
    """Numbers of one update, all under the policy before it.

    - `kl_nats`: the mean over completions of the whole completion's log-ratio (k1: unbiased, either
      sign).
    - `kl_error_nats`: its standard error over the step's problems; None for a single problem.
    - `kl_nats_k3`: the same of the tokens' k3, summed over a completion (unbiased, never negative,
      far less noise).
    - `entropy_nats_per_token`: minus the mean log-probability of the sampled tokens.
    - `advantage_std`: the standard deviation over all completions, with the divisor B·N.
    - `gradient_norm`: before clipping.
    - `sampling_gap_nats`: see `sampling_gap`.
    - `each`: what is known of each completion.
    - `off_policy_steps`: how many steps older the policy that sampled was; None where the policy
      that learns has sampled. Reward, entropy and KL are then means over what the older one drew.
    - `truncated_share`: see `off_policy.truncated_share`.
    """

    step: int
    problems: int
    completions: int
    tokens: int
    loss: float
    reward_mean: float
    advantage_std: float
    groups_with_signal: int
    kl_nats: float
    kl_error_nats: float | None
    kl_nats_k3: float
    entropy_nats_per_token: float
    gradient_norm: float
    clipped: bool
    learning_rate: float
    sampling_gap_nats: float | None
    passes: int
    each: CompletionNumbers = field(repr=False)
    off_policy_steps: int | None = None
    truncated_share: float | None = None


@dataclass(frozen=True)
class Update:
    """What the optimiser is about to do: its step, with the gradient's norm before clipping."""

    step: int
    gradient_norm: float
    clipped: bool
    learning_rate: float


def step_metrics(
    batch: StepBatch, outcome: Outcome, sampled: Tensor | None, update: Update
) -> StepMetrics:
    """The numbers of a step; `sampled` [M] are the sampler's log-probabilities, row-major."""
    tokens = int(batch.mask.sum())
    logprobs = outcome.logprobs.double()
    return StepMetrics(
        step=update.step,
        problems=len(batch.prompts),
        completions=len(batch.completions),
        tokens=tokens,
        loss=outcome.loss,
        reward_mean=batch.rewards.double().mean().item(),
        advantage_std=outcome.advantages.std(correction=0).item(),
        groups_with_signal=int(groups_with_signal(batch.rewards).sum()),
        kl_nats=outcome.kl_nats,
        kl_error_nats=standard_error(outcome.log_ratio.sum(dim=-1).mean(dim=-1)),
        kl_nats_k3=k3(outcome.log_ratio).sum().item() / len(batch.completions),
        entropy_nats_per_token=-logprobs.sum().item() / tokens,
        gradient_norm=update.gradient_norm,
        clipped=update.clipped,
        learning_rate=update.learning_rate,
        sampling_gap_nats=sampling_gap(outcome.logprobs, sampled, batch),
        passes=outcome.passes,
        each=completion_numbers(outcome),
    )


def completion_numbers(outcome: Outcome) -> CompletionNumbers:
    """The numbers of each completion, summed over its tokens in float64."""
    return CompletionNumbers(
        baselines=outcome.baselines.flatten().tolist(),
        advantages=outcome.advantages.flatten().tolist(),
        kl_penalties=outcome.penalties.flatten().tolist(),
        sum_logprobs=completion_sums(outcome.logprobs),
        sum_logprobs_reference=completion_sums(outcome.reference_logprobs),
    )


def completion_sums(logprobs: Tensor) -> list[float]:
    """Log-probabilities of whole completions in nats, row by row, from those of tokens [B, N, T].

    There is a 0 where a completion has no token.
    """
    sums: list[float] = logprobs.double().sum(dim=-1).flatten().tolist()
    return sums


def standard_error(of_problems: Tensor) -> float | None:
    """The standard error of the mean of [B] values, one a problem; None where B is 1."""
    problems = len(of_problems)
    if problems < 2:
        return None
    return float(of_problems.std(correction=1).item()) / math.sqrt(problems)


def sampling_gap(logprobs: Tensor, sampled: Tensor | None, batch: StepBatch) -> float | None:
    """The mean over tokens of |learner's − sampler's| log-probability, in nats.

    `logprobs` is [B, N, T], `sampled` [M], row-major, or None, which gives None. A gap well above
    rounding says that the completions came from another policy than the one that is updated
    (another temperature, a truncated distribution, old weights), so that the gradient is biased.
    """
    if sampled is None:
        return None
    mine = logprobs[batch.mask].double()
    return (mine - sampled.to(mine.device)).abs().mean().item()
