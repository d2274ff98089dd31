"""The numbers of a step, as they go into the training table, against values worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from policy.learning.gradient import Outcome
from policy.learning.step_batch import StepBatch, step_batch
from policy.learning.step_metrics import StepMetrics, Update, sampling_gap, step_metrics

# two problems of two completions; the tokens are 1 + 2 + 1 + 1
LOGPROBS = torch.tensor([[[-1.0, 0.0], [-2.0, -0.5]], [[-1.5, 0.0], [-1.0, 0.0]]])
REFERENCE = torch.tensor([[[-1.5, 0.0], [-1.5, -1.0]], [[-1.5, 0.0], [-2.0, 0.0]]])
UPDATE = Update(step=3, gradient_norm=2.5, clipped=True, learning_rate=1e-4)


def batch() -> StepBatch:
    completions = [[1], [4, 1], [1], [1]]
    return step_batch([[5], [6]], completions, [[1.0, 0.0], [1.0, 1.0]], torch.device("cpu"))


def outcome() -> Outcome:
    return Outcome(
        logprobs=LOGPROBS,
        reference_logprobs=REFERENCE,
        losses=torch.tensor([[1.0, 2.0], [3.0, 6.0]]),
        advantages=torch.tensor([[1.0, -1.0], [0.0, 2.0]]),
        signal=torch.zeros(2, 2),
        baselines=torch.tensor([[0.5, 0.25], [0.0, -1.0]]),
        penalties=torch.tensor([[0.5, 0.0], [0.0, 1.0]]),
        passes=2,
    )


def metrics(sampled: list[float] | None = None) -> StepMetrics:
    flat = None if sampled is None else torch.tensor(sampled, dtype=torch.float64)
    return step_metrics(batch(), outcome(), flat, UPDATE)


def test_what_is_counted_and_what_is_passed_on() -> None:
    found = metrics()
    assert (found.problems, found.completions, found.tokens, found.passes) == (2, 4, 5, 2)
    assert (found.step, found.gradient_norm, found.clipped) == (3, 2.5, True)
    assert found.learning_rate == 1e-4
    assert found.groups_with_signal == 1
    assert found.reward_mean == 0.75


def test_loss_and_advantages_are_over_all_completions() -> None:
    assert metrics().loss == 3.0
    # mean 0.5, squared deviations 0.25, 2.25, 0.25, 2.25
    assert metrics().advantage_std == pytest.approx(math.sqrt(5 / 4))


def test_kl_is_per_completion_and_entropy_per_token() -> None:
    # log-ratios of the tokens: 0.5 | −0.5, 0.5 | 0 | 1
    assert metrics().kl_nats == pytest.approx((0.5 + 0.0 + 0.0 + 1.0) / 4)
    k3 = [math.exp(-ratio) - 1 + ratio for ratio in (0.5, -0.5, 0.5, 0.0, 1.0)]
    assert metrics().kl_nats_k3 == pytest.approx(sum(k3) / 4)
    assert metrics().entropy_nats_per_token == pytest.approx((1.0 + 2.0 + 0.5 + 1.5 + 1.0) / 5)


def test_the_sampling_gap_is_the_mean_difference_per_token_in_either_direction() -> None:
    # differences 0.1, 0.2, 0, 0.1, 0.1
    found = metrics([-1.1, -1.8, -0.5, -1.4, -1.1])
    assert found.sampling_gap_nats == pytest.approx(0.5 / 5)
    assert metrics().sampling_gap_nats is None
    assert sampling_gap(LOGPROBS, None, batch()) is None


def test_every_completion_has_its_own_numbers_in_the_order_of_the_batch() -> None:
    each = metrics().each
    assert each.baselines == [0.5, 0.25, 0.0, -1.0]
    assert each.advantages == [1.0, -1.0, 0.0, 2.0]
    assert each.kl_penalties == [0.5, 0.0, 0.0, 1.0]
    # sums over tokens: −1 | −2 − 0.5 | −1.5 | −1
    assert each.sum_logprobs == [-1.0, -2.5, -1.5, -1.0]
    assert each.sum_logprobs_reference == [-1.5, -2.5, -1.5, -2.0]
