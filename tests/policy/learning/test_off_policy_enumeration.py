"""Truncated importance sampling against exact gradients, by listing every completion.

The completions of `tests.policy.learning.test_enumeration` are drawn from another table than the
one that learns, as where a server samples with an earlier policy.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from policy.learning.objective import importance_weights
from tests.policy.learning.test_enumeration import (
    COMPLETIONS,
    LENGTHS,
    MASK,
    REWARDS,
    TOLERANCE,
    _exact_gradient,
    _exact_kl,
    _expected_ascent,
    _gradient,
    _logp,
    _table,
    _token_logprobs,
)

NEVER = 1e9  # a cap that no ratio reaches


@pytest.fixture
def table() -> Tensor:
    return _table(1).requires_grad_()


@pytest.fixture
def reference() -> Tensor:
    return _table(2)


@pytest.fixture
def earlier(table: Tensor) -> Tensor:
    """What the policy was before: near it, and not it."""
    return table.detach() + 0.5 * _table(3)


@pytest.mark.parametrize("samples", [2, 3])
def test_with_a_cap_that_is_never_reached_the_default_estimator_is_unbiased(
    table: Tensor, reference: Tensor, earlier: Tensor, samples: int
) -> None:
    got = _expected_ascent(table, reference, samples, drawn_by=earlier, cap=NEVER)
    torch.testing.assert_close(got, _exact_gradient(table, reference, 0.7), **TOLERANCE)


@pytest.mark.parametrize(("baseline", "samples"), [("none", 1), ("running_mean", 1), ("none", 2)])
def test_so_it_is_with_baselines_that_ignore_the_batch(
    table: Tensor, reference: Tensor, earlier: Tensor, baseline: str, samples: int
) -> None:
    given: dict[str, Any] = {"baseline": baseline, "running_mean": 0.4}
    got = _expected_ascent(table, reference, samples, drawn_by=earlier, cap=NEVER, **given)
    torch.testing.assert_close(got, _exact_gradient(table, reference, 0.7), **TOLERANCE)


def test_a_penalty_in_the_loss_is_weighted_too(
    table: Tensor, reference: Tensor, earlier: Tensor
) -> None:
    given: dict[str, Any] = {"kl_estimator": "k2", "kl_placement": "loss", "kl_weight": 1.0}
    nothing = torch.zeros_like(REWARDS)
    got = _expected_ascent(
        table, reference, 2, rewards=nothing, drawn_by=earlier, cap=NEVER, **given
    )
    torch.testing.assert_close(got, -_gradient(_exact_kl(table, reference), table), **TOLERANCE)


def test_without_weights_it_follows_another_gradient(
    table: Tensor, reference: Tensor, earlier: Tensor
) -> None:
    got = _expected_ascent(table, reference, 2, drawn_by=earlier)
    assert (got - _exact_gradient(table, reference, 0.7)).norm() > 0.05


@pytest.mark.parametrize("cap", [0.5, 1.0, 1.3])
def test_truncated_each_completion_counts_at_most_cap_times_as_often_as_it_is_drawn(
    table: Tensor, reference: Tensor, earlier: Tensor, cap: float
) -> None:
    given: dict[str, Any] = {"baseline": "none", "kl_weight": 0.0}
    got = _expected_ascent(table, reference, 1, drawn_by=earlier, cap=cap, **given)
    mine, drawn = _logp(table), _logp(earlier).exp()
    counted = torch.minimum(mine.exp(), cap * drawn).detach()
    assert (counted < mine.exp() - 0.01).any(), "something is truncated"
    torch.testing.assert_close(got, _gradient((counted * REWARDS * mine).sum(), table), **TOLERANCE)


def test_a_cap_that_is_seldom_reached_is_nearer_to_the_gradient_than_no_weights(
    table: Tensor, reference: Tensor, earlier: Tensor
) -> None:
    exact = _exact_gradient(table, reference, 0.7)
    largest = (_logp(table) - _logp(earlier)).exp().max().item()
    truncated = _expected_ascent(table, reference, 2, drawn_by=earlier, cap=0.9 * largest)
    plain = _expected_ascent(table, reference, 2, drawn_by=earlier)
    assert 0.001 < (truncated - exact).norm() < (plain - exact).norm()


@pytest.mark.parametrize("cap", [0.8, NEVER])
def test_token_by_token_each_token_has_its_own_ratio(
    table: Tensor, reference: Tensor, earlier: Tensor, cap: float
) -> None:
    given: dict[str, Any] = {"baseline": "none", "kl_weight": 0.0, "reduction": "token"}
    got = _expected_ascent(table, reference, 1, drawn_by=earlier, cap=cap, **given)
    mine, theirs = _token_logprobs(table), _token_logprobs(earlier)
    expected = table.new_zeros(())
    for row, completion in enumerate(COMPLETIONS):
        drawn = math.exp(theirs[row].sum().item())
        for place in range(len(completion)):
            ratio = math.exp(mine[row, place].item() - theirs[row, place].item())
            share = drawn * min(ratio, cap) * REWARDS[row].item() / LENGTHS[row].item()
            expected = expected + share * mine[row, place]
    torch.testing.assert_close(got, _gradient(expected, table), **TOLERANCE)


def test_a_token_at_a_time_no_cap_makes_good_what_came_before_it(
    table: Tensor, reference: Tensor, earlier: Tensor
) -> None:
    given: dict[str, Any] = {"baseline": "none", "kl_weight": 0.0, "reduction": "token"}
    on_policy = _expected_ascent(table, reference, 1, **given)
    got = _expected_ascent(table, reference, 1, drawn_by=earlier, cap=NEVER, **given)
    assert (got - on_policy).norm() > 0.01


@pytest.mark.parametrize("grain", ["sequence", "token"])
def test_on_policy_all_weights_are_one(table: Tensor, grain: Any) -> None:
    logprobs = _token_logprobs(table)
    weights = importance_weights(logprobs, logprobs.detach(), MASK, 2.0, grain)
    assert not weights.requires_grad
    assert torch.equal(weights, torch.ones_like(weights))


@pytest.mark.parametrize("grain", ["sequence", "token"])
def test_a_ratio_too_large_to_be_written_is_the_cap(grain: Any) -> None:
    mine, theirs = torch.zeros(1, 1, 2), torch.full((1, 1, 2), -2000.0)
    mask = torch.tensor([[[True, False]]])
    weights = importance_weights(mine, theirs, mask, 2.0, grain)
    torch.testing.assert_close(weights, torch.tensor([[[2.0, 1.0]]]))
