"""A run's description: the rate first, every number with its interval, texts of others as text."""

from __future__ import annotations

from artifacts.text.describe import (
    describe_failure,
    describe_instrument,
    describe_result,
    describe_start,
    rates_table,
)
from schemas.config import EvalConfig, LearningConfig
from schemas.loops import EVALUATION, LEARNING
from schemas.results import EvalResult, LearningResult, SelectionResult


def test_a_run_that_begins_says_what_it_will_measure() -> None:
    config = LearningConfig(model="m|1")
    assert describe_start(LEARNING, config) == (
        "### running\n\n"
        "Loop C, learning · model `m\\|1` · `arithmetic` holdout · scorer `final_int@1`"
    )


def test_a_replay_says_whose_completions_it_scores_and_names_no_model() -> None:
    said = describe_start(EVALUATION, EvalConfig(completions="run-1", model="none"))
    assert "completions of `run-1` · scorer `final_int@1`" in said
    assert "none" not in said


def test_a_run_that_fails_says_why() -> None:
    said = describe_failure(EVALUATION, EvalConfig(), "InputError: <b>no</b>\n")
    assert said.startswith("### ended without a result\n\n`InputError: <b>no</b>\\n`\n\nLoop A")


def test_the_rate_comes_first_then_why_answers_failed(evaluation: EvalResult) -> None:
    lines = describe_result(evaluation).split("\n\n")
    assert lines[0] == "### pass@1 33 % (95 % interval 10 % to 70 %)"
    assert lines[1] == (
        "6 of 9 answers failed: 3 wrong answer, 2 bad format, 1 truncated · "
        "pass@1 is not above the best constant answer: 3 is right for 1/3 = 33 % · "
        "instrument `eeeeeeeeeeee`"
    )
    assert lines[2] == (
        "Loop A, evaluation · model `<i>mine</i>` · 3 problems × 3 samples of `arithmetic` holdout "
        "· scorer `final_int@1`"
    )
    assert lines[3] == "**Why 6 of 9 answers failed**"
    row = "| wrong answer | `other_integer` | 3 | 33 % | `1 + 2?` expects `3`, got `<b>4\\n` |"
    assert row in lines[4].splitlines()


def test_only_the_first_codes_are_told_and_the_rest_is_counted(evaluation: EvalResult) -> None:
    (group,) = evaluation.failures
    many = tuple(group.model_copy(update={"code": f"c{i}", "completions": i}) for i in range(9))
    said = describe_result(evaluation.model_copy(update={"failures": many}))
    assert "`c5`" in said
    assert "`c6`" not in said
    assert "and 21 more by 3 codes" in said


def test_a_run_without_failures_says_so(evaluation: EvalResult) -> None:
    right = evaluation.model_copy(update={"failures": (), "outcomes": {"correct": 9}})
    assert "**No answer failed**, of 9." in describe_result(right)
    assert "0 of 9 answers failed · pass@1" in describe_result(right)


def test_selection_tells_what_each_rule_picked(selection: SelectionResult) -> None:
    said = describe_result(selection).splitlines()
    oracle = "| oracle (needs the expected answer) | 80 % (60 % to 90 %) | +46.7 (+0.0 to +50.0) |"
    assert oracle in said
    assert "| majority | 40 % (20 % to 50 %) | +6.7 (+0.0 to +50.0) |" in said
    assert (
        "Best of 3 by the oracle: 0.40 nats from the policy (95 % interval 0.30 to 0.50, n = 3 "
        "problems), bound 0.43." in said
    )


def test_learning_tells_every_rate_before_and_after(learning: LearningResult) -> None:
    said = describe_result(learning)
    assert said.startswith("### pass@1 20 % before, 50 % after 2 steps\n")
    assert "KL to the start 0.00 nats a completion (95 % interval -0.20 to 0.30, n = 3" in said
    assert (
        "Trained from `default` on `arithmetic` train: 2 steps of 16 problems × 8 samples" in said
    )
    assert rates_table(learning.before, learning.after) in said
    assert "**Why 6 of 9 answers failed** after learning" in said


def test_families_stand_in_the_rates_table_as_code(learning: LearningResult) -> None:
    lines = rates_table(learning.before, learning.after).splitlines()
    assert lines[0] == "|  | before | after |"
    assert lines[2] == "| pass@1 | 20 % (10 % to 40 %) | 50 % (30 % to 70 %) |"
    assert lines[-1] == "| `pass@1` | 50 % (20 % to 80 %) | 50 % (20 % to 80 %) |"


def test_digests_in_the_instrument_are_cut(evaluation: EvalResult) -> None:
    said = describe_instrument(evaluation.instrument)
    assert "| scorer | `final_int@1:ffffffffffff` |" in said
    assert "f" * 13 not in said
