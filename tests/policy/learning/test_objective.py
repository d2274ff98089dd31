"""Advantages and losses against numbers worked by hand."""

import pytest
import torch

from policy.learning.objective import (
    DEVIATION_FLOOR,
    Objective,
    RunningMean,
    advantages,
    completion_losses,
    groups_with_gradient,
    groups_with_signal,
    penalised_advantages,
    policy_gradient_losses,
    subtracted_baselines,
)
from schemas.config import Baseline, LearningSettings
from schemas.errors import InputError

SIGNAL = torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 1.0, 1.0, 1.0]])


def test_without_a_baseline_the_advantage_is_the_signal() -> None:
    assert torch.equal(advantages(SIGNAL, "none"), SIGNAL)


def test_running_mean_subtracts_the_mean_of_the_past_only() -> None:
    assert torch.equal(advantages(SIGNAL, "running_mean", 0.25), SIGNAL - 0.25)


def test_running_mean_weighs_every_past_completion_alike() -> None:
    state = RunningMean().updated(torch.tensor([[1.0, 0.0]]))
    assert state == RunningMean(0.5, 2)
    # (0.5 · 2 + 8.0) / (2 + 8) = 0.9
    state = state.updated(SIGNAL)
    assert state.count == 10
    assert state.mean == pytest.approx(0.9)


def test_leave_one_out_subtracts_the_mean_of_the_others() -> None:
    # first problem: 1 − mean(0, 0, 1) = 2/3; 0 − mean(1, 0, 1) = −2/3
    # second problem: 3 − mean(1, 1, 1) = 2; 1 − mean(3, 1, 1) = −2/3
    expected = torch.tensor(
        [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [2.0, -2 / 3, -2 / 3, -2 / 3]],
    )
    torch.testing.assert_close(advantages(SIGNAL, "leave_one_out"), expected)


def test_group_mean_subtracts_the_mean_of_all() -> None:
    expected = torch.tensor([[0.5, -0.5, -0.5, 0.5], [1.5, -0.5, -0.5, -0.5]])
    torch.testing.assert_close(advantages(SIGNAL, "group_mean"), expected)


def test_group_normalized_divides_by_the_sample_deviation() -> None:
    # deviations: √(4 · 0.25 / 3) = 0.57735; √((2.25 + 3 · 0.25) / 3) = 1
    expected = torch.tensor([[0.86603, -0.86603, -0.86603, 0.86603], [1.5, -0.5, -0.5, -0.5]])
    torch.testing.assert_close(
        advantages(SIGNAL, "group_normalized"), expected, rtol=1e-3, atol=0.0
    )


def test_group_normalized_gives_equal_rewards_no_advantage() -> None:
    equal = torch.full((1, 3), 0.1)
    assert advantages(equal, "group_normalized").abs().max() < 1e-3


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("none", [0.0, 0.0, 0.0]),
        ("running_mean", [0.25, 0.25, 0.25]),
        # of (1, 0, 0.5): the mean of the other two
        ("leave_one_out", [0.25, 0.75, 0.5]),
        ("group_mean", [0.5, 0.5, 0.5]),
        ("group_normalized", [0.5, 0.5, 0.5]),
    ],
)
def test_what_is_subtracted_is_known_and_gives_the_advantage(
    baseline: Baseline, expected: list[float]
) -> None:
    signal = torch.tensor([[1.0, 0.0, 0.5]])
    found = subtracted_baselines(signal, baseline, 0.25)
    assert found.tolist() == [expected]
    centred = signal - found
    if baseline == "group_normalized":
        centred = centred / (0.5 + DEVIATION_FLOOR)  # the deviation of (1, 0, 0.5)
    torch.testing.assert_close(centred, advantages(signal, baseline, 0.25))


def test_the_penalty_is_told_before_it_is_weighted_and_the_baseline_after() -> None:
    # Δ = (1, 0), β = 0.5: signal (0.5, 0), so the others' mean is (0, 0.5)
    found = _objective()
    assert found.penalties.tolist() == [[1.0, 0.0]]
    assert found.baselines.tolist() == [[0.0, 0.5]]
    assert found.advantages.tolist() == [[0.5, -0.5]]
    # in the loss it is not in the signal (1, 0)
    found = _objective(kl_placement="loss", kl_estimator="k2")
    assert found.penalties.tolist() == [[0.5, 0.0]]
    assert found.baselines.tolist() == [[0.0, 1.0]]
    # divided by the rewards' deviation, which are centred alone
    assert _objective(baseline="group_normalized").baselines.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("baseline", ["leave_one_out", "group_mean", "group_normalized"])
def test_a_group_of_one_cannot_be_its_own_baseline(baseline: str) -> None:
    with pytest.raises(InputError, match="at least 2") as caught:
        advantages(torch.ones(4, 1), baseline)  # type: ignore[arg-type]
    assert baseline in caught.value.what


def test_a_group_of_one_can_use_the_running_mean() -> None:
    assert advantages(torch.ones(4, 1), "running_mean", 1.0).abs().sum() == 0


def test_the_penalty_is_not_divided_by_the_deviation_of_the_group() -> None:
    penalty = torch.tensor([[1.0, -1.0]])
    got = penalised_advantages(torch.zeros(1, 2), penalty, 0.01, "group_normalized")
    # leave-one-out of (1, −1) is (2, −2); times −β
    torch.testing.assert_close(got, torch.tensor([[-0.02, 0.02]]))


def test_sequence_reduction_sums_and_token_reduction_divides_by_the_length() -> None:
    logprobs = torch.tensor([[[-1.0, -2.0, -9.0], [-4.0, -9.0, -9.0]]])
    mask = torch.tensor([[[True, True, False], [True, False, False]]])
    weights = torch.tensor([[2.0, -1.0]])
    sequence = policy_gradient_losses(logprobs, mask, weights, "sequence")
    assert sequence.tolist() == [[6.0, -4.0]]
    token = policy_gradient_losses(logprobs, mask, weights, "token")
    assert token.tolist() == [[3.0, -4.0]]


def _losses(**changes: object) -> torch.Tensor:
    return _objective(**changes).losses


def _objective(**changes: object) -> Objective:
    """One problem with two completions of one token each."""
    settings = LearningSettings(kl_weight=0.5).model_copy(update=changes)
    logprobs = torch.tensor([[[-1.0], [-2.0]]])
    reference = torch.tensor([[[-2.0], [-2.0]]])
    return completion_losses(
        logprobs,
        reference,
        torch.ones(1, 2, 1, dtype=torch.bool),
        torch.tensor([[1.0, 0.0]]),
        settings,
    )


def test_k1_in_the_reward_is_subtracted_from_it() -> None:
    # Δ = (1, 0): signal (1 − 0.5, 0), advantages (0.5, −0.5), losses −A·log π = (0.5, −1)
    assert _losses().tolist() == [[0.5, -1.0]]


def test_k2_in_the_loss_is_added_to_it() -> None:
    # advantages (1, −1): −A·log π = (1, −2); penalty β·Δ²/2 = (0.25, 0)
    assert _losses(kl_estimator="k2", kl_placement="loss").tolist() == [[1.25, -2.0]]


def test_without_a_kl_weight_the_reference_does_not_matter() -> None:
    assert _losses(kl_weight=0.0).tolist() == [[1.0, -2.0]]
    assert _losses(kl_weight=0.0, kl_placement="loss").tolist() == [[1.0, -2.0]]


def test_only_unequal_rewards_are_a_signal() -> None:
    rewards = torch.tensor([[0.1, 0.1, 0.1], [0.0, 0.0, 1.0]])
    assert groups_with_signal(rewards).tolist() == [False, True]


@pytest.mark.parametrize(
    ("baseline", "kl_weight", "expected"),
    [
        ("leave_one_out", 0.0, [False, True]),
        ("group_mean", 0.0, [False, True]),
        ("group_normalized", 0.0, [False, True]),
        ("leave_one_out", 0.01, [True, True]),
        ("none", 0.0, [True, True]),
        ("running_mean", 0.0, [True, True]),
    ],
)
def test_a_group_is_without_gradient_only_where_that_is_exact(
    baseline: str, kl_weight: float, expected: list[bool]
) -> None:
    rewards = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert groups_with_gradient(rewards, baseline, kl_weight).tolist() == expected  # type: ignore[arg-type]
