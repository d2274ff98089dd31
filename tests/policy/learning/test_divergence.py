"""The estimators of KL against their formulas; `test_enumeration` proves their expectations."""

from __future__ import annotations

import math

import torch

from policy.learning.divergence import completion_divergence, k1, k2, k3


def test_divergence_estimators_match_their_formulas() -> None:
    delta = torch.tensor([0.5, -0.5, 0.0])
    assert torch.equal(k1(delta), delta)
    torch.testing.assert_close(k2(delta), torch.tensor([0.125, 0.125, 0.0]))
    expected = [math.exp(-0.5) - 0.5, math.exp(0.5) - 1.5, 0.0]
    torch.testing.assert_close(k3(delta), torch.tensor(expected))


def test_k3_is_never_negative_even_for_a_rounding_error_of_a_log_ratio() -> None:
    assert (k3(torch.tensor([1e-7, -1e-7, 1e-4, -1e-4, 30.0])) >= 0).all()


def test_the_grain_decides_whether_an_estimator_sees_a_token_or_a_completion() -> None:
    log_ratio = torch.tensor([[[1.0, -1.0, 99.0]]])
    mask = torch.tensor([[[True, True, False]]])
    # whole completion: (1 − 1)² / 2; token by token: 1/2 + 1/2; the masked 99 counts in neither
    assert completion_divergence(log_ratio, mask, "k2", "sequence").item() == 0.0
    assert completion_divergence(log_ratio, mask, "k2", "token").item() == 1.0


def test_k1_has_no_grain() -> None:
    log_ratio = torch.tensor([[[1.0, -0.25, 7.0], [0.5, 7.0, 7.0]]])
    mask = torch.tensor([[[True, True, False], [True, False, False]]])
    for grain in ("sequence", "token"):
        assert completion_divergence(log_ratio, mask, "k1", grain).tolist() == [[0.75, 0.5]]
