"""The estimators against exact gradients, by listing every completion of a small policy.

The policy is a table of logits in float64, one row per prefix: tokens a, b and the end, at most two
tokens, hence seven completions. A group is N completions sampled independently, so the expected
gradient of a loss is the sum over all 7ᴺ groups of probability × gradient. Probabilities are
detached there: an estimator does not differentiate through the sampling.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from policy.learning.divergence import completion_divergence, k2
from policy.learning.objective import (
    DEVIATION_FLOOR,
    completion_losses,
    groups_with_signal,
    importance_weights,
)
from schemas.config import LearningSettings

END, LONGEST = 2, 2
COMPLETIONS = [(END,), *itertools.product((0, 1), (0, 1, END))]
PREFIXES: list[tuple[int, ...]] = [(), (0,), (1,)]
LENGTHS = torch.tensor([float(len(completion)) for completion in COMPLETIONS]).double()
REWARDS = torch.tensor([0.8, 1.0, 0.3, 0.0, -0.5, 2.0, 1.0], dtype=torch.float64)
BINARY = (REWARDS > 0.5).double()
MASK = torch.tensor([[step < len(c) for step in range(LONGEST)] for c in COMPLETIONS])
DEFAULTS = LearningSettings(kl_weight=0.7)  # leave_one_out, k1 in the reward, whole sequences
TOLERANCE: Any = {"rtol": 0.0, "atol": 1e-9}


def _table(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(len(PREFIXES), 3, dtype=torch.float64, generator=generator)


def _token_logprobs(table: Tensor) -> Tensor:
    """[7, 2] log-probabilities of every token of every completion; 0 beyond the end."""
    rows = table.log_softmax(dim=-1)
    values = [
        [rows[PREFIXES.index(c[:t]), c[t]] if t < len(c) else rows.new_zeros(()) for t in range(2)]
        for c in COMPLETIONS
    ]
    return torch.stack([torch.stack(row) for row in values])


@pytest.fixture
def table() -> Tensor:
    return _table(1).requires_grad_()


@pytest.fixture
def reference() -> Tensor:
    return _table(2)


def _logp(table: Tensor) -> Tensor:
    return _token_logprobs(table).sum(dim=-1)


def _gradient(value: Tensor, table: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(value, table)
    return gradient


def _exact_kl(table: Tensor, reference: Tensor) -> Tensor:
    return (_logp(table).exp() * (_logp(table) - _logp(reference))).sum()


def _exact_reverse_kl(table: Tensor, reference: Tensor) -> Tensor:
    return (_logp(reference).exp() * (_logp(reference) - _logp(table))).sum()


def _exact_gradient(
    table: Tensor, reference: Tensor, kl_weight: float, rewards: Tensor = REWARDS
) -> Tensor:
    """Of E[reward] − β·KL(policy ‖ reference)."""
    expected_reward = (_logp(table).exp() * rewards).sum()
    return _gradient(expected_reward - kl_weight * _exact_kl(table, reference), table)


def _expected_ascent(
    table: Tensor,
    reference: Tensor,
    samples: int,
    rewards: Tensor = REWARDS,
    keep: Callable[[Tensor], bool] = lambda rewards: True,
    running_mean: float = 0.0,
    drawn_by: Tensor | None = None,
    cap: float | None = None,
    **changes: Any,
) -> Tensor:
    """Minus the expected gradient of the learner's loss over every group of `samples`.

    Completions are drawn from the policy itself, or from that of the table `drawn_by`, with weights
    up to `cap`.
    """
    logprobs, reference_logprobs = _token_logprobs(table), _token_logprobs(reference)
    sampled = logprobs.detach() if drawn_by is None else _token_logprobs(drawn_by)
    probabilities = sampled.sum(dim=-1).exp()
    settings = DEFAULTS.model_copy(update=changes)
    total = table.new_zeros(())
    for group in itertools.product(range(len(COMPLETIONS)), repeat=samples):
        index = torch.tensor(group)
        if not keep(rewards[index]):
            continue
        objective = completion_losses(
            logprobs[index][None],
            reference_logprobs[index][None],
            MASK[index][None],
            rewards[index][None],
            settings,
            running_mean,
            None
            if cap is None
            else importance_weights(
                logprobs[index][None],
                sampled[index][None],
                MASK[index][None],
                cap,
                settings.reduction,
            ),
        )
        total = total + probabilities[index].prod() * objective.losses.mean()
    return -_gradient(total, table)


def test_every_completion_is_listed_once(table: Tensor) -> None:
    assert _logp(table).exp().sum().item() == pytest.approx(1.0)
    assert len(COMPLETIONS) == 7


@pytest.mark.parametrize("samples", [2, 3])
def test_the_default_estimator_follows_the_exact_gradient(
    table: Tensor, reference: Tensor, samples: int
) -> None:
    got = _expected_ascent(table, reference, samples)
    torch.testing.assert_close(got, _exact_gradient(table, reference, 0.7), **TOLERANCE)


@pytest.mark.parametrize(("baseline", "samples"), [("none", 1), ("running_mean", 1), ("none", 2)])
def test_baselines_that_ignore_the_batch_are_unbiased(
    table: Tensor, reference: Tensor, baseline: str, samples: int
) -> None:
    got = _expected_ascent(table, reference, samples, baseline=baseline, running_mean=0.4)
    torch.testing.assert_close(got, _exact_gradient(table, reference, 0.7), **TOLERANCE)


@pytest.mark.parametrize("samples", [2, 3])
def test_group_mean_is_leave_one_out_shrunk_by_exactly_one_nth(
    table: Tensor, reference: Tensor, samples: int
) -> None:
    leave_one_out = _expected_ascent(table, reference, samples)
    group_mean = _expected_ascent(table, reference, samples, baseline="group_mean")
    torch.testing.assert_close(leave_one_out, group_mean * samples / (samples - 1), **TOLERANCE)


def _kl_ascent(table: Tensor, reference: Tensor, **changes: Any) -> Tensor:
    """The expected ascent of the penalty alone, with β = 1."""
    nothing = torch.zeros_like(REWARDS)
    return _expected_ascent(table, reference, 2, rewards=nothing, kl_weight=1.0, **changes)


def test_k1_in_the_reward_descends_the_divergence(table: Tensor, reference: Tensor) -> None:
    got = _kl_ascent(table, reference, kl_estimator="k1", kl_placement="reward")
    torch.testing.assert_close(got, -_gradient(_exact_kl(table, reference), table), **TOLERANCE)


def test_k1_as_a_loss_has_no_expected_gradient(table: Tensor, reference: Tensor) -> None:
    got = _kl_ascent(table, reference, kl_estimator="k1", kl_placement="loss")
    torch.testing.assert_close(got, torch.zeros_like(got), **TOLERANCE)


def test_k2_as_a_loss_descends_the_divergence(table: Tensor, reference: Tensor) -> None:
    got = _kl_ascent(table, reference, kl_estimator="k2", kl_placement="loss")
    torch.testing.assert_close(got, -_gradient(_exact_kl(table, reference), table), **TOLERANCE)


def test_k3_as_a_loss_descends_the_reverse_divergence(table: Tensor, reference: Tensor) -> None:
    got = _kl_ascent(table, reference, kl_estimator="k3", kl_placement="loss")
    reverse = _gradient(_exact_reverse_kl(table, reference), table)
    torch.testing.assert_close(got, -reverse, **TOLERANCE)
    assert (reverse - _gradient(_exact_kl(table, reference), table)).norm() > 0.1


def test_k2_in_the_reward_follows_neither_divergence(table: Tensor, reference: Tensor) -> None:
    got = _kl_ascent(table, reference, kl_estimator="k2", kl_placement="reward")
    log_ratio = _logp(table) - _logp(reference)
    value = _gradient((_logp(table).exp() * k2(log_ratio)).sum(), table)
    expected = value - _gradient(_exact_kl(table, reference), table)
    torch.testing.assert_close(got, -expected, **TOLERANCE)


def test_k3_in_the_reward_follows_the_difference_of_the_divergences(
    table: Tensor, reference: Tensor
) -> None:
    got = _kl_ascent(table, reference, kl_estimator="k3", kl_placement="reward")
    forward = _gradient(_exact_kl(table, reference), table)
    reverse = _gradient(_exact_reverse_kl(table, reference), table)
    torch.testing.assert_close(got, -(forward - reverse), **TOLERANCE)


def test_the_values_of_k1_and_k3_are_unbiased_and_that_of_k2_is_not(
    table: Tensor, reference: Tensor
) -> None:
    log_ratio = _token_logprobs(table) - _token_logprobs(reference)
    exact = _exact_kl(table, reference).item()
    probabilities = _logp(table).exp()

    def value(estimator: Any, grain: Any) -> float:
        return (
            (probabilities * completion_divergence(log_ratio, MASK, estimator, grain)).sum().item()
        )

    for grain in ("sequence", "token"):
        assert value("k1", grain) == pytest.approx(exact, abs=1e-9)
        assert value("k3", grain) == pytest.approx(exact, abs=1e-9)
        assert abs(value("k2", grain) - exact) > 0.01


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_token_by_token_a_loss_misses_what_a_token_does_to_later_ones(
    table: Tensor, reference: Tensor, estimator: Any
) -> None:
    log_ratio = _token_logprobs(table) - _token_logprobs(reference)
    probabilities = _logp(table).exp().detach()
    penalty = completion_divergence(log_ratio, MASK, estimator, "token")
    got = _gradient((probabilities * penalty).sum(), table)

    # the divergence at each prefix, times the probability of passing through it, held fixed
    mine, theirs = table.log_softmax(dim=-1), reference.log_softmax(dim=-1)
    reached = torch.stack([mine.new_ones(()), mine[0, 0].exp(), mine[0, 1].exp()]).detach()
    forward = (mine.exp() * (mine - theirs)).sum(dim=-1)
    reverse = (theirs.exp() * (theirs - mine)).sum(dim=-1)
    local = {"k2": forward, "k3": reverse}[estimator]
    torch.testing.assert_close(got, _gradient((reached * local).sum(), table), **TOLERANCE)

    # what is missing: the first token's part in which prefix is reached
    whole = {"k2": _exact_kl, "k3": _exact_reverse_kl}[estimator]
    assert (got - _gradient(whole(table, reference), table)).norm() > 0.01


@pytest.mark.parametrize("baseline", ["none", "leave_one_out"])
def test_length_normalisation_follows_the_reward_per_token(
    table: Tensor, reference: Tensor, baseline: str
) -> None:
    got = _expected_ascent(table, reference, 2, kl_weight=0.0, baseline=baseline, reduction="token")
    probabilities = _logp(table).exp()
    fixed = (probabilities * REWARDS).sum().detach() if baseline == "leave_one_out" else 0.0
    per_token = (probabilities * (REWARDS - fixed) / LENGTHS).sum()
    torch.testing.assert_close(got, _gradient(per_token, table), **TOLERANCE)
    direction = torch.cosine_similarity(
        got.flatten(), _exact_gradient(table, reference, 0.0).flatten(), dim=0
    )
    assert direction < 0.999


def _normalized_weight(solved: float, samples: int) -> float:
    """d E[advantage · score] / d p: how much GRPO weighs the gradient of the pass rate p.

    With rewards of 0 and 1 the expected gradient is E[A | right] ∇p + E[A | wrong] ∇(1 − p), and
    the other N − 1 completions hold k right ones with a binomial probability.
    """

    def advantage(own: int, others_right: int) -> float:
        right = own + others_right
        mean = right / samples
        deviation = math.sqrt(right * (samples - right) / samples / (samples - 1))
        return (own - mean) / (deviation + DEVIATION_FLOOR)

    others = samples - 1
    return sum(
        math.comb(others, k)
        * solved**k
        * (1 - solved) ** (others - k)
        * (advantage(1, k) - advantage(0, k))
        for k in range(samples)
    )


def test_dividing_by_the_deviation_reweights_problems_by_how_often_they_are_solved(
    table: Tensor, reference: Tensor
) -> None:
    got = _expected_ascent(
        table, reference, 4, rewards=BINARY, kl_weight=0.0, baseline="group_normalized"
    )
    pass_rate = (_logp(table).exp() * BINARY).sum()
    weight = _normalized_weight(pass_rate.item(), 4)
    torch.testing.assert_close(got, weight * _gradient(pass_rate, table), **TOLERANCE)


def test_the_weight_of_a_problem_under_normalisation_tends_to_one_over_its_deviation() -> None:
    for solved in (0.1, 0.5, 0.9):
        limit = 1 / math.sqrt(solved * (1 - solved))
        assert _normalized_weight(solved, 400) == pytest.approx(limit, rel=0.02)
    assert _normalized_weight(0.05, 16) > 1.2 * _normalized_weight(0.5, 16)


def test_dividing_by_the_deviation_ignores_the_scale_of_the_rewards(
    table: Tensor, reference: Tensor
) -> None:
    settings: dict[str, Any] = {"kl_weight": 0.0, "baseline": "group_normalized"}
    once = _expected_ascent(table, reference, 2, **settings)
    tenfold = _expected_ascent(table, reference, 2, rewards=10 * REWARDS, **settings)
    torch.testing.assert_close(once, tenfold, rtol=1e-2, atol=0.0)


def _gradient_of_group(
    table: Tensor, reference: Tensor, kl_weight: float, **changes: Any
) -> Tensor:
    """The gradient of the loss of one group, of three different completions with equal rewards."""
    index = torch.tensor([1, 3, 6])
    objective = completion_losses(
        _token_logprobs(table)[index][None],
        _token_logprobs(reference)[index][None],
        MASK[index][None],
        torch.ones(1, 3, dtype=torch.float64),
        DEFAULTS.model_copy(update={"kl_weight": kl_weight} | changes),
    )
    return _gradient(objective.losses.mean(), table)


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_mean", "group_normalized"])
def test_a_group_of_equal_rewards_keeps_its_share_of_the_kl_gradient(
    table: Tensor, reference: Tensor, baseline: str
) -> None:
    assert _gradient_of_group(table, reference, 0.0, baseline=baseline).norm() == 0
    half = _gradient_of_group(table, reference, 0.35, baseline=baseline)
    full = _gradient_of_group(table, reference, 0.7, baseline=baseline)
    assert full.norm() > 0.01
    torch.testing.assert_close(full, 2 * half)  # nothing but the KL term


def test_dropping_groups_of_equal_rewards_is_exact_only_without_a_kl_weight(
    table: Tensor, reference: Tensor
) -> None:
    def differing(rewards: Tensor) -> bool:
        return bool(groups_with_signal(rewards[None]))

    dropped = _expected_ascent(table, reference, 3, rewards=BINARY, keep=differing, kl_weight=0.0)
    torch.testing.assert_close(dropped, _exact_gradient(table, reference, 0.0, BINARY), **TOLERANCE)
    dropped = _expected_ascent(table, reference, 3, rewards=BINARY, keep=differing)
    assert (dropped - _exact_gradient(table, reference, 0.7, BINARY)).norm() > 0.05
