"""A step's batch: what it holds, which part of it, and what does not fit together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from policy.learning.step_batch import StepBatch, flat_logprobs, step_batch
from schemas.errors import InputError

PROMPTS = [[5, 6], [7], [8]]
COMPLETIONS = [[1], [2, 1], [3, 3, 1], [1], [2, 1], [1]]
REWARDS = [[1.0, 0.0], [0.0, 0.5], [1.0, 1.0]]


def batch() -> StepBatch:
    return step_batch(PROMPTS, COMPLETIONS, REWARDS, torch.device("cpu"))


def test_the_mask_is_true_on_the_tokens_of_each_completion() -> None:
    made = batch()
    assert made.samples == 2
    assert made.mask.shape == (3, 2, 3)
    assert made.mask.sum(dim=-1).tolist() == [[1, 2], [3, 1], [2, 1]]
    assert made.rewards.dtype == torch.float32


def test_a_part_has_its_problems_in_the_order_given_and_is_no_longer_than_they_need() -> None:
    part = batch().only([2, 0])
    assert part.prompts == [[8], [5, 6]]
    assert part.completions == [[2, 1], [1], [1], [2, 1]]
    assert part.rewards.tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert part.mask.tolist() == [[[True, True], [True, False]], [[True, False], [True, True]]]


@pytest.mark.parametrize(
    ("prompts", "completions", "rewards", "says"),
    [
        (PROMPTS, COMPLETIONS, [1.0] * 6, r"B problems × N completions, not \(6,\)"),
        (PROMPTS, COMPLETIONS, [[]], r"B problems × N completions, not \(1, 0\)"),
        (PROMPTS[:2], COMPLETIONS, REWARDS, "2 prompts and 6 completions do not fit"),
        (PROMPTS, COMPLETIONS[:5], REWARDS, "3 prompts and 5 completions do not fit"),
        (PROMPTS, [*COMPLETIONS[:5], []], REWARDS, "has no token"),
        ([*PROMPTS[:2], []], COMPLETIONS, REWARDS, "has no token"),
        (PROMPTS, COMPLETIONS, [[1.0, float("inf")]] * 3, "not a finite number"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    prompts: Any, completions: Any, rewards: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        step_batch(prompts, completions, rewards, torch.device("cpu"))
    assert caught.value.where == "the batch of a step"


def test_the_sampler_s_log_probabilities_are_one_a_token() -> None:
    given = [[-0.1], [-0.2, -0.3], [-0.4, -0.5, -0.6], [-0.7], [-0.8, -0.9], [-1.0]]
    flat = flat_logprobs(given, batch())
    assert flat.tolist() == [value for row in given for value in row]
    assert flat.dtype == torch.float64
    with pytest.raises(InputError, match="one per token of each completion"):
        flat_logprobs([[-0.1]] * 6, batch())
