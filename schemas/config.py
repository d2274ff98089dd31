"""One frozen configuration per flow, validated at the edge and recorded whole.

It holds no defaults that depend on the machine; those are chosen at run time and recorded apart.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Baseline = Literal["none", "running_mean", "leave_one_out", "group_mean", "group_normalized"]
KlEstimator = Literal["k1", "k2", "k3"]
KlPlacement = Literal["loss", "reward"]
LossReduction = Literal["sequence", "token"]
SelectionRule = Literal["oracle", "majority", "likelihood", "random"]
SELECTION_RULES: tuple[SelectionRule, ...] = ("oracle", "majority", "likelihood", "random")


class Frozen(BaseModel):
    """Immutable, and an unknown field is an error rather than a silent no-op."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SamplingSettings(Frozen):
    """How completions are drawn. The defaults are the policy itself: nothing is cut or sharpened."""

    temperature: Annotated[float, Field(ge=0, le=100, description="0 is greedy")] = 1.0
    top_k: Annotated[int, Field(ge=0, description="0 keeps every token")] = 0
    top_p: Annotated[float, Field(gt=0, le=1, description="1 keeps every token")] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 16


class LearningSettings(Frozen):
    """One policy-gradient update: maximise E[reward] − β·KL(policy ‖ reference)."""

    baseline: Baseline = "leave_one_out"
    kl_weight: Annotated[float, Field(ge=0, description="β, reward per nat")] = 0.01
    kl_estimator: KlEstimator = "k1"
    kl_placement: KlPlacement = "reward"
    reduction: LossReduction = "sequence"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-5
    schedule: Literal["constant", "linear"] = "constant"
    max_gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
