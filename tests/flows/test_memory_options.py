"""The options of learning for models that hardly fit."""

from __future__ import annotations

from typing import Any

import pytest

from flows.cli.options import config_from
from flows.cli.parser import build_parser
from schemas.config import LearningConfig
from schemas.errors import InputError


def given(*options: str) -> dict[str, Any]:
    found = vars(build_parser().parse_args(["learn", *options]))
    return {name: value for name, value in found.items() if name in _fields()}


def _fields() -> set[str]:
    fields = LearningConfig.model_fields
    return {*fields, *type(fields["learning"].default).model_fields}


def test_a_switch_takes_no_value_and_is_off_by_default() -> None:
    assert not config_from(LearningConfig, given()).learning.gradient_checkpointing
    on = config_from(LearningConfig, given("--gradient-checkpointing"))
    assert on.learning.gradient_checkpointing


def test_the_adapter_brings_its_learning_rate() -> None:
    assert config_from(LearningConfig, given("--adapter", "lora")).learning.learning_rate == 2e-4
    both = given("--adapter", "lora", "--learning-rate", "1e-3", "--lora-rank", "4")
    settings = config_from(LearningConfig, both).learning
    assert (settings.learning_rate, settings.lora_rank) == (1e-3, 4)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (("--max-tokens-per-pass", "0"), "--max-tokens-per-pass 0"),
        (("--lora-rank", "0"), "--lora-rank 0"),
        (("--lora-alpha", "-1"), "--lora-alpha -1"),
    ],
)
def test_sizes_that_cannot_be_are_named(options: tuple[str, ...], where: str) -> None:
    with pytest.raises(InputError, match=where):
        config_from(LearningConfig, given(*options))
