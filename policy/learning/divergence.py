"""Estimators of KL(policy ‖ reference) from completions that the policy itself sampled.

With y ~ π and the log-ratio Δ = log π(y) − log ρ(y), in nats, Schulman ("Approximating KL
Divergence", 2020) estimates the value KL(π ‖ ρ) = E[Δ] by three functions of Δ. An estimator of the
value is not yet an estimator of the gradient; the gradient depends on where the penalty is put
(Tang & Munos, "On a few pitfalls in KL divergence gradient estimation for RL", 2025). `reward`
means that the penalty is subtracted from the reward as a number, `loss` that it is added to the
loss and differentiated as it stands. The expected gradient is then

| estimator | E[value]     | in the reward                | in the loss     |
|-----------|--------------|------------------------------|-----------------|
| k1        | KL(π ‖ ρ)    | ∇KL(π ‖ ρ)                   | 0               |
| k2        | E[Δ²] / 2    | ∇E[Δ²] / 2 − ∇KL(π ‖ ρ)      | ∇KL(π ‖ ρ)      |
| k3        | KL(π ‖ ρ)    | ∇KL(π ‖ ρ) − ∇KL(ρ ‖ π)      | ∇KL(ρ ‖ π)      |

Every cell is proven by enumeration in `tests/policy/learning/test_enumeration.py`. The table holds
when Δ is the log-ratio of a whole completion. Summed over the tokens of a completion, k3 still
estimates the value without bias, but as a loss both k2 and k3 see one token at a time and ignore
that a token also changes the later ones: k2 follows Σ_t E[∇KL(π_t ‖ ρ_t)] and k3 follows Σ_t
E[∇KL(ρ_t ‖ π_t)], with the prefixes sampled from π and held fixed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from schemas.config import KlEstimator, LossReduction


def k1(log_ratio: Tensor) -> Tensor:
    """Δ, elementwise: unbiased value, either sign, high variance.

    In the reward it gives the gradient of KL(policy ‖ reference). As a loss its expected gradient
    is E[∇log π] = 0: pure noise.
    """
    return log_ratio


def k2(log_ratio: Tensor) -> Tensor:
    """Δ² / 2, elementwise: value biased to second order, never negative.

    As a loss its gradient Δ·∇log π has the gradient of KL(policy ‖ reference) as its expectation.
    """
    return log_ratio.square() / 2


def k3(log_ratio: Tensor) -> Tensor:
    """exp(−Δ) − 1 + Δ, elementwise: unbiased value, never negative, low variance near Δ = 0.

    As a loss (Shao et al., "DeepSeekMath", 2024, equation 4) its gradient (1 − ρ/π)·∇log π has the
    gradient of KL(reference ‖ policy) as its expectation: the reverse divergence. Where the
    policy has nearly lost what the reference says, exp(−Δ) has heavy tails.
    """
    return torch.expm1(-log_ratio) + log_ratio


ESTIMATORS: dict[KlEstimator, Callable[[Tensor], Tensor]] = {"k1": k1, "k2": k2, "k3": k3}


def completion_divergence(
    log_ratio: Tensor,
    mask: Tensor,
    estimator: KlEstimator,
    grain: LossReduction,
    weights: Tensor | None = None,
) -> Tensor:
    """The estimate in nats per completion, [B, N], of token log-ratios [B, N, T].

    `mask` [B, N, T] is true on tokens of the completion. With the grain `sequence` the estimator is
    applied to the log-ratio of the whole completion, with `token` to each token's and then summed;
    for k1 they are the same. `weights` [B, N, T], of `objective.importance_weights`, are those of
    completions that another policy drew.
    """
    estimate = ESTIMATORS[estimator]
    log_ratio = log_ratio.masked_fill(~mask, 0.0)
    if grain == "sequence":
        whole = estimate(log_ratio.sum(dim=-1))
        return whole if weights is None else whole * weights[..., 0]
    each = estimate(log_ratio)
    return each.sum(dim=-1) if weights is None else (each * weights).sum(dim=-1)
