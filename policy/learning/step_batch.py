"""What one update learns from: prompts, the completions sampled from them, and their rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from policy.attention.packing import completion_mask
from policy.attention.prefix_tree import Tokens
from schemas.errors import InputError


@dataclass(frozen=True)
class StepBatch:
    """B prompts, B·N completions in the order of the prompts, rewards [B, N], mask [B, N, T].

    `sampled` [B, N, T] are the log-probabilities, in nats, of the policy that sampled, where they
    enter the gradient; 0 where there is no token.
    """

    prompts: Sequence[Tokens]
    completions: Sequence[Tokens]
    rewards: Tensor
    mask: Tensor
    sampled: Tensor | None = None

    @property
    def samples(self) -> int:
        """N, the completions of each problem."""
        return self.rewards.shape[1]

    def only(self, problems: Sequence[int]) -> StepBatch:
        """The batch of some of the problems, in the order given."""
        n = self.samples
        completions = [
            self.completions[problem * n + index] for problem in problems for index in range(n)
        ]
        longest = max(map(len, completions))
        chosen = list(problems)
        return StepBatch(
            prompts=[self.prompts[problem] for problem in problems],
            completions=completions,
            rewards=self.rewards[chosen],
            mask=self.mask[chosen, :, :longest],
            sampled=None if self.sampled is None else self.sampled[chosen, :, :longest],
        )

    def with_sampled(self, flat: Tensor) -> StepBatch:
        """The batch with the sampler's log-probabilities of all tokens [M], row-major."""
        sampled = torch.zeros(self.mask.shape, device=self.mask.device)
        sampled[self.mask] = flat.to(sampled)
        return replace(self, sampled=sampled)


def step_batch(
    prompts: Sequence[Tokens], completions: Sequence[Tokens], rewards: Any, device: torch.device
) -> StepBatch:
    """A checked batch on `device`; InputError for shapes or values that cannot be learned from."""
    scores = torch.as_tensor(rewards, dtype=torch.float32)
    problem = ""
    if scores.dim() != 2 or scores.numel() == 0:
        problem = f"rewards must be B problems × N completions, not {tuple(scores.shape)}"
    elif len(prompts) != scores.shape[0] or len(completions) != scores.numel():
        problem = (
            f"{len(prompts)} prompts and {len(completions)} completions do not fit "
            f"rewards of shape {tuple(scores.shape)}"
        )
    elif min(map(len, prompts)) == 0 or min(map(len, completions)) == 0:
        problem = "a prompt or a completion has no token"
    elif not scores.isfinite().all():
        problem = "a reward is not a finite number"
    if problem:
        raise InputError(problem, where="the batch of a step")
    mask = completion_mask(completions, device).view(*scores.shape, -1)
    return StepBatch(prompts, completions, scores.to(device), mask)


def flat_logprobs(given: Sequence[Sequence[float]], batch: StepBatch) -> Tensor:
    """The sampler's log-probabilities of all tokens [M], row-major; InputError for other counts."""
    counts = [len(row) for row in given]
    if counts != [len(completion) for completion in batch.completions]:
        raise InputError(
            "the sampler's log-probabilities must be one per token of each completion",
            where="the batch of a step",
        )
    return torch.tensor([value for row in given for value in row], dtype=torch.float64)
