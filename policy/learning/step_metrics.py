"""What one update measured, as plain numbers.

It does not decide what to do about them, and holds no clock time.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from policy.learning.divergence import k3
from policy.learning.gradient import Outcome
from policy.learning.objective import groups_with_signal
from policy.learning.step_batch import StepBatch


@dataclass(frozen=True)
class StepMetrics:
    """Numbers of one update, all under the policy before it.

    `kl_nats` is the mean over completions of the whole completion's log-ratio (k1: unbiased, either
    sign), `kl_nats_k3` that of the tokens' k3 summed over a completion (unbiased, never negative,
    far less noise). `entropy_nats_per_token` is minus the mean log-probability of the sampled
    tokens. `gradient_norm` is taken before clipping.

    `sampling_gap_nats` is the mean absolute difference per token between the sampler's
    log-probabilities and the learner's, None without the former.
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
    kl_nats_k3: float
    entropy_nats_per_token: float
    gradient_norm: float
    clipped: bool
    learning_rate: float
    sampling_gap_nats: float | None
    passes: int


def step_metrics(
    batch: StepBatch,
    outcome: Outcome,
    sampled: Tensor | None,
    *,
    step: int,
    gradient_norm: float,
    clipped: bool,
    learning_rate: float,
) -> StepMetrics:
    """The numbers of a step; `sampled` [M] are the sampler's log-probabilities, row-major."""
    tokens = int(batch.mask.sum())
    logprobs = outcome.logprobs.double()
    return StepMetrics(
        step=step,
        problems=len(batch.prompts),
        completions=len(batch.completions),
        tokens=tokens,
        loss=outcome.loss,
        reward_mean=batch.rewards.double().mean().item(),
        advantage_std=outcome.advantages.std(correction=0).item(),
        groups_with_signal=int(groups_with_signal(batch.rewards).sum()),
        kl_nats=outcome.kl_nats,
        kl_nats_k3=k3(outcome.log_ratio).sum().item() / len(batch.completions),
        entropy_nats_per_token=-logprobs.sum().item() / tokens,
        gradient_norm=gradient_norm,
        clipped=clipped,
        learning_rate=learning_rate,
        sampling_gap_nats=sampling_gap(outcome.logprobs, sampled, batch),
        passes=outcome.passes,
    )


def sampling_gap(logprobs: Tensor, sampled: Tensor | None, batch: StepBatch) -> float | None:
    """The mean over tokens of |learner's − sampler's| log-probability, in nats; None without both.

    `logprobs` is [B, N, T], `sampled` [M], row-major. Well above rounding, it says that the
    completions came from another policy than the one updated (another temperature, a truncated
    distribution, stale weights), and the gradient is biased.
    """
    if sampled is None:
        return None
    mine = logprobs[batch.mask].double()
    return (mine - sampled.to(mine.device)).abs().mean().item()
