"""Options of the command line are those of the configurations, each described once."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from flows.cli.options import add_options, config_from, flag, refuse_with_replay
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import InputError


def given(config: type[Any], names: list[str], *words: str) -> dict[str, Any]:
    """What argparse makes of some words."""
    parser = argparse.ArgumentParser()
    add_options(parser, config, names)
    return vars(parser.parse_args(words))


def help_of(config: type[Any], *names: str) -> str:
    parser = argparse.ArgumentParser()
    add_options(parser, config, names)
    return " ".join(parser.format_help().split())


def test_what_is_not_given_is_left_to_the_configuration() -> None:
    names = ["model", "sampling", "samples"]
    assert given(EvalConfig, names) == {}
    assert given(EvalConfig, names, "--top-k", "3") == {"top_k": "3"}
    config = config_from(EvalConfig, given(EvalConfig, names, "--top-k", "3", "--samples", "2"))
    assert config == EvalConfig.model_validate({"sampling": {"top_k": 3}, "samples": 2})


def test_a_nested_group_has_an_option_for_each_of_its_fields() -> None:
    shown = help_of(LearningConfig, "learning")
    for name in ("--baseline", "--kl-weight", "--lora-rank", "--gradient-checkpointing"):
        assert name in shown
    assert "--learning " not in shown


def test_help_shows_the_default_and_the_choices() -> None:
    shown = help_of(LearningConfig, "steps", "device", "learning")
    assert "updates of the policy; default 100" in shown
    assert "--device {auto,cpu,cuda}" in shown
    # too wide for the usage line
    assert "--baseline RULE" in shown
    assert "none, running_mean, leave_one_out, group_mean, group_normalized" in shown
    assert help_of(SelectionConfig, "pick").count("default") == 1


def test_a_wrong_choice_is_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        given(EvalConfig, ["device"], "--device", "tpu")
    assert "invalid choice: 'tpu'" in capsys.readouterr().err


def test_a_rule_may_be_given_again() -> None:
    words = ("--pick", "majority", "--pick", "oracle")
    assert given(SelectionConfig, ["pick"], *words) == {"pick": ["majority", "oracle"]}


def test_an_option_has_the_name_of_its_field_but_for_the_short_one() -> None:
    assert flag("max_new_tokens") == "--max-new-tokens"
    assert flag("max_kl_nats") == "--max-kl"
    assert given(LearningConfig, ["max_kl_nats"], "--max-kl", "2") == {"max_kl_nats": "2"}


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"samples": "0"}, "--samples 0"),
        ({"temperature": "hot"}, "--temperature hot"),
        ({"max_kl_nats": "-1"}, "--max-kl -1"),
        ({"learning_rate": "0"}, "--learning-rate 0"),
    ],
)
def test_a_value_that_cannot_be_used_is_named_by_its_option(
    options: dict[str, str], where: str
) -> None:
    with pytest.raises(InputError) as caught:
        config_from(LearningConfig, options)
    assert caught.value.where == where
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model", "dataset", "split", "temperature", "seed"])
def test_what_the_stored_completions_settled_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"{flag(name)} with --completions"):
        refuse_with_replay({"completions": "x", name: "1"})


def test_what_a_replay_may_choose_is_not_refused() -> None:
    refuse_with_replay({"completions": "x", "scorer": "y@1", "limit": "3"})
    of_a_file = {"dataset": "d.jsonl", "split": "dev"}
    refuse_with_replay({"completions": "x.jsonl"} | of_a_file)
    with pytest.raises(InputError, match="--dataset with --completions"):
        refuse_with_replay({"completions": "x.parquet"} | of_a_file)
