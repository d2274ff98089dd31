"""Configurations: what they refuse, what they default to, and what one makes of another."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.config import (
    ADAPTER_LEARNING_RATE,
    DEV,
    GROUP_BASELINES,
    SELECTION_RULES,
    EvalConfig,
    LearningConfig,
    LearningSettings,
    RunConfig,
    SamplingSettings,
    SelectionConfig,
)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (EvalConfig, {"sample": 3}),  # an unknown field
        (EvalConfig, {"samples": 0}),
        (EvalConfig, {"seed": 2**63}),
        (SamplingSettings, {"temperature": float("nan")}),
        (SamplingSettings, {"temperature": -0.1}),
        (SamplingSettings, {"top_p": 0}),
        (LearningSettings, {"kl_weight": float("inf")}),
        (LearningSettings, {"baseline": "mean"}),
        (LearningSettings, {"learning_rate": 0}),
        (LearningConfig, {"dev_limit": 1}),
        (LearningConfig, {"register_as": "two words"}),
        (SelectionConfig, {"pick": ()}),
        (SelectionConfig, {"pick": ("best",)}),
    ],
)
def test_what_cannot_work_is_refused(kind: type[Any], given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**given)


def test_a_configuration_cannot_be_changed() -> None:
    config = EvalConfig()
    with pytest.raises(ValidationError):
        config.samples = 2
    assert config.model_copy(update={"samples": 2}).samples == 2


def test_the_learning_rate_of_an_adapter_is_higher_unless_one_is_given() -> None:
    assert LearningSettings(adapter="lora").learning_rate == ADAPTER_LEARNING_RATE
    assert LearningSettings(adapter="lora", learning_rate=1e-5).learning_rate == 1e-5
    assert LearningSettings().learning_rate < ADAPTER_LEARNING_RATE
    assert LearningSettings.model_validate(LearningSettings()) == LearningSettings()


def test_a_learning_run_is_measured_as_loop_a_would_measure() -> None:
    config = LearningConfig(
        model="m", dataset="d", split="s", seed=5, scorer="x@1", samples=8, evaluation_samples=3
    )
    evaluation = config.evaluation()
    assert type(evaluation) is EvalConfig
    assert evaluation.samples == 3
    for name in RunConfig.model_fields:
        assert getattr(evaluation, name) == getattr(config, name)


def test_dev_is_measured_with_its_own_limit_and_samples() -> None:
    config = LearningConfig(limit=7, evaluation_samples=4, dev_samples=2, dev_limit=30)
    dev = config.development()
    assert (dev.split, dev.limit, dev.samples) == (DEV, 30, 2)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(10, 4, {0, 4, 8, 10}), (8, 4, {0, 4, 8}), (3, 10, {0, 3}), (10, 0, set())],
)
def test_dev_is_measured_at_the_start_in_between_and_at_the_end(
    steps: int, every: int, expected: set[int]
) -> None:
    assert LearningConfig(steps=steps, dev_every=every).dev_eval_steps() == expected


def test_the_baselines_of_a_group_and_the_rules_are_all_accepted() -> None:
    for baseline in (*GROUP_BASELINES, "none", "running_mean"):
        assert LearningSettings(baseline=baseline).baseline == baseline
    assert SelectionConfig(pick=SELECTION_RULES).pick == SELECTION_RULES
