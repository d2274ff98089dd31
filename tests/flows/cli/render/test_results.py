"""Results in a terminal: the loop first, every rate with its interval and n, 80 columns."""

from __future__ import annotations

from collections.abc import Callable

from flows.cli.render.results import print_result
from schemas.result_parts import PairedDifference
from schemas.results import EvalResult, LearningResult, SelectionResult

Shown = Callable[..., str]


def test_an_evaluation_shows_its_rate_failures_and_families(
    shown: Shown, evaluation: EvalResult
) -> None:
    lines = shown(print_result, evaluation).splitlines()
    assert lines[:9] == [
        "Loop A: evaluation (changed: nothing)",
        "model <i>mine</i>",
        "Pass rate: 3/9 = 33 %",
        "  95 % interval 10 % to 70 %, n = 3 problems x 3 samples",
        "  pass@1 is not above the best constant answer: 3 is right for 1/3 = 33 %",
        "Failures:",
        "  - Wrong answer: 3",
        "  - Bad format: 2",
        "  - Truncated: 1",
    ]
    assert lines[-3].split() == ["<u>sums</u>", "33", "%", "10", "%", "to", "70", "%", "3"]
    assert lines[-1] == "instrument eeeeeeeeeeee   run 0123456789abcdef"


def test_a_scorer_that_gives_parts_has_a_mean_reward(shown: Shown, evaluation: EvalResult) -> None:
    assert "Mean reward" not in shown(print_result, evaluation)
    parts = evaluation.model_copy(
        update={"metrics": evaluation.metrics.model_copy(update={"mean_reward": 0.5})}
    )
    said = shown(print_result, parts)
    assert "Mean reward: 0.500 (95 % interval 0.100 to 0.700)" in said


def test_a_name_in_brackets_is_no_style(shown: Shown, evaluation: EvalResult) -> None:
    model = evaluation.model.model_copy(update={"name": "[red]mine[/red]"})
    named = evaluation.model_copy(
        update={"model": model, "families": {"[b]": evaluation.families["pass@1"]}}
    )
    said = shown(print_result, named)
    assert "model [red]mine[/red]" in said
    assert "[b]" in said


def test_a_selection_shows_what_each_rule_picked_and_its_ties(
    shown: Shown, selection: SelectionResult
) -> None:
    said = shown(print_result, selection)
    heading, *rows = [" ".join(line.split()) for line in said.splitlines()[9:14]]
    assert heading == "rate 95 % interval gain 95 % interval ties"
    assert rows == [
        "pass@1 33 % 10 % to 70 %",
        "pass@2 60 % 20 % to 90 %",
        "picked by oracle* 80 % 60 % to 90 % +46.7 +0.0 to +50.0 2",
        "picked by majority 40 % 20 % to 50 % +6.7 +0.0 to +50.0 2",
    ]
    assert "answers with different rewards equal, and the seed decided" in said
    assert "* the oracle needs the expected answer: it is what a perfect scorer could pick" in said
    assert "Best of 3 by the oracle is 0.40 nats from the policy" in said
    assert "(95 % interval 0.30 to 0.50, n = 3 problems); the bound" in said


def test_without_the_oracle_nothing_is_said_of_it(shown: Shown, selection: SelectionResult) -> None:
    only = {"majority": selection.selected["majority"]}
    said = shown(print_result, selection.model_copy(update={"selected": only}))
    assert "* the oracle" not in said


def test_learning_shows_every_rate_before_and_after(shown: Shown, learning: LearningResult) -> None:
    said = shown(print_result, learning)
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert rows[2:8] == [
        "before 95 % interval after 95 % interval",
        "pass@1 20 % 10 % to 40 % 50 % 30 % to 70 %",
        "pass@2 60 % 20 % to 90 % 60 % 20 % to 90 %",
        "valid format 67 % 30 % to 90 % 67 % 30 % to 90 %",
        "<u>sums</u> 33 % 10 % to 70 % 33 % 10 % to 70 %",
        "family pass@1 50 % 20 % to 80 % 50 % 20 % to 80 %",
    ]
    assert "KL to the start 0.00 nats a completion (95 % interval -0.20 to 0.30)" in said
    assert "pass@1 on dev by step (n = 3 problems): 0: 25 %  2: 25 %" in said
    assert "2 steps of 1.2 s, 7 s in all; registered models:/threeloops/1" in said


def test_learning_shows_its_paired_gain_and_how_often_the_gradient_was_clipped(
    shown: Shown, learning: LearningResult
) -> None:
    gain = PairedDifference(
        value=0.3, low=0.1, high=0.5, problems=3, better=1, worse=0, detectable=0.4
    )
    metrics = learning.metrics.model_copy(update={"clipped_steps": 2})
    said = shown(print_result, learning.model_copy(update={"metrics": metrics, "gain": gain}))
    assert "gain of pass@1, problem by problem: +30.0 points" in said
    assert "(95 % interval +10.0 to +50.0)" in said
    assert "longer than --max-gradient-norm in 2 of 2 steps" in " ".join(said.split())
    assert "fewer than 60 problems: where a few problems make most of the KL, its" in said
    assert "holds in as few as half of all measurements" in said
    assert "--max-gradient-norm" not in shown(print_result, learning)


def test_one_step_without_dev_is_told_in_the_singular(
    shown: Shown, learning: LearningResult
) -> None:
    metrics = learning.metrics.model_copy(update={"steps": 1, "seconds_per_step": None})
    said = shown(print_result, learning.model_copy(update={"metrics": metrics, "dev": ()}))
    assert "\n1 step, 7 s in all;" in said
    assert "on dev" not in said


def test_no_name_of_a_model_begins_a_line_of_its_own(
    shown: Shown, evaluation: EvalResult, learning: LearningResult
) -> None:
    for result in (evaluation, learning):
        model = result.model.model_copy(update={"name": "m\nPass rate: 100/100"})
        lines = shown(print_result, result.model_copy(update={"model": model})).splitlines()
        assert "m\\nPass rate: 100/100" in " ".join(lines)
        assert not [line for line in lines if line.startswith("Pass rate: 100/100")]
