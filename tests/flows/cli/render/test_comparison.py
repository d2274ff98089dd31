"""Comparisons, decisions and scorers' changes in a terminal."""

from __future__ import annotations

from collections.abc import Callable

from flows.cli.render.comparison import (
    print_changes,
    print_comparison,
    print_golden,
)
from flows.cli.render.decision import print_decision
from schemas.outputs import GoldenMiss, GoldenResult
from schemas.result_parts import (
    Candidate,
    ChangedVerdict,
    GateLevel,
    Opponent,
    ScorerChange,
    VerdictGroup,
)
from schemas.results import Comparison, Decision, RatedComparison

Shown = Callable[..., str]


def refusal(comparison: RatedComparison) -> Comparison:
    """The same two runs on different instruments."""
    common = {name: getattr(comparison, name) for name in Comparison.model_fields}
    differs = {"scorer": (f"a:{'f' * 64}", "b"), "split": ("dev", "holdout")}
    return Comparison(
        **common
        | {
            "comparable": False,
            "same_instrument": False,
            "differs": differs,
            "refused_parts": ("scorer",),
            "allowed": ("split",),
            "reading": (),
        }
    )


def test_two_runs_are_shown_with_their_difference_and_what_flipped(
    shown: Shown, comparison: RatedComparison
) -> None:
    said = shown(print_comparison, comparison, wide=True)
    assert "A  eval-1  loop A, changed: nothing; default; 40 problems x 4 samples" in said
    after = "default after 1 step, 0.50 nats from its start; 40 problems x 4 samples"
    assert after in " ".join(said.split())
    assert "same instrument eeeeeeeeeeee, scorer final_int@1" in said
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert "pass rate B 30 % 10 % to 90 % 40" in rows
    assert "B - A, points +10.0 -2.0 to +30.0 40" in rows
    assert "<u>sums</u> +10.0 -2.0 to +30.0 40" in rows
    assert "paired test over problems, from the same numbers as the interval: p = 0.0312" in said
    words = " ".join(said.split())
    assert (
        "so many find a true difference of 20.0 points about four times in five (in 70 to 97"
        in words
    )
    assert "right in B more often: 5\n  [bold]1 + 2?  (expected Final: 3)\n" in said
    assert "    A 0/4  \\u001b[31m4  (other_text)\n    B 3/4  Final: 3  (exact)\n" in said
    assert "right in A more often" not in said
    assert said.endswith("a difference is by learning.")


def test_a_tiny_p_value_and_problems_left_out_are_told(
    shown: Shown, comparison: RatedComparison
) -> None:
    other = comparison.model_copy(update={"p_value": 1e-9, "left_out": (2, 0)})
    said = shown(print_comparison, other, wide=True)
    assert "p < 0.0001" in said
    assert "left out: 2 problems only in A, 0 only in B" in said


def test_too_few_problems_for_any_difference_are_told(
    shown: Shown, comparison: RatedComparison
) -> None:
    assert "fewer than 6 problems" not in shown(print_comparison, comparison, wide=True)
    few = comparison.difference.model_copy(update={"problems": 5, "detectable": 1.0})
    said = shown(print_comparison, comparison.model_copy(update={"difference": few}), wide=True)
    assert "with fewer than 6 problems no result differs from 0: B - A" in said
    words = " ".join(said.split())
    assert "with so few no difference is found four times in five" in words


def test_a_refusal_names_the_parts_that_differ_and_no_rate(
    shown: Shown, comparison: RatedComparison
) -> None:
    said = shown(print_comparison, refusal(comparison), wide=True)
    assert "The instruments differ:\n  scorer\n    A  a:ffffffffffff\n    B  b\n" in said
    assert "  split (allowed)\n    A  dev\n    B  holdout" in said
    assert "pass rate" not in said
    assert "Compared all the same" not in said


def decided(comparison: RatedComparison | None, **given: object) -> Decision:
    common: dict[str, object] = {
        "decision": "refused",
        "promoted": False,
        "reasons": ("its gain is [too] small",),
        "candidate": Candidate(name="models:/t/2", digest="d", run_id="r"),
        "against": Opponent(role="champion", name="models:/t/1", digest="c"),
        "min_gain": 0.0,
        "pairs_considered": 1,
        "evidence": comparison,
        "run_id": "0123456789abcdef",
    }
    return Decision.model_validate(common | given)


def test_a_decision_is_shown_with_its_evidence_and_its_reasons(
    shown: Shown, comparison: RatedComparison
) -> None:
    said = shown(print_decision, decided(comparison), wide=True)
    assert said.startswith("models:/t/2: refused\nagainst the champion, models:/t/1\nA  eval-1")
    assert "- its gain is [too] small" in said
    assert "is the champion now" not in said
    assert said.endswith("decision 0123456789abcdef")


def test_long_lines_of_a_decision_are_broken_below_their_letter(
    shown: Shown, comparison: RatedComparison
) -> None:
    long = comparison.runs[0].model_copy(update={"model": "a model " * 20, "samples": 1})
    evidence = comparison.model_copy(update={"runs": (long, comparison.runs[1])})
    reason = (
        "its gain is +0.0 points, 99.9 % interval -7.0 to +7.0, so that it is not sure to be any"
    )
    said = shown(print_decision, decided(evidence, reasons=(reason,)))
    assert "\nA  eval-1  loop A, changed: nothing; a model" in said
    assert "\n   model a model" in said or "\n   a model" in said
    assert "40 problems x 1 sample\n" in said
    assert reason in " ".join(said.split())


def test_the_champion_is_not_compared_with_itself(
    shown: Shown, comparison: RatedComparison
) -> None:
    itself = Opponent(role="champion", name="models:/t/2", digest="d")
    said = shown(print_decision, decided(comparison, against=itself))
    assert "pass rate" not in said
    assert "- its gain is [too] small" in said


def test_a_promotion_without_an_opponent_names_the_new_champion(shown: Shown) -> None:
    given = {"decision": "promoted", "promoted": True, "reasons": (), "champion": "models:/t/2"}
    against = Opponent(role="start", name="", digest="")
    said = shown(print_decision, decided(None, **given, against=against, pairs_considered=3))
    assert "against the start, not known" in said
    assert "both were evaluated with 3 common instruments" in said
    assert "models:/t/2 is the champion now" in said


def test_a_decision_says_how_strict_it_was_and_what_the_gain_is_on_fresh_samples(
    shown: Shown, comparison: RatedComparison
) -> None:
    held = GateLevel(look=3, level=0.99662, low=0.015, high=0.2)
    given = {"decision": "promoted", "promoted": True, "reasons": (), "held": held}
    confirmed = {"fresh": comparison, "fresh_held": held.model_copy(update={"look": 2})}
    said = shown(print_decision, decided(comparison, **given, **confirmed), wide=True)
    assert "look 3 at evidence against this opponent: the gain must hold at 99.7 %" in said
    assert "where it is +1.5 to +20.0 points" in " ".join(said.split())
    again = "measured again on fresh samples of the same problems: +10.0 points, -2.0 to +30.0 conf"
    assert again in " ".join(said.split())
    assert "to quote" not in said
    shows_gain = decided(comparison, **given, **confirmed, gain=comparison)
    said = shown(print_decision, shows_gain, wide=True)
    quoted = "measured once more after it had passed: +10.0 points, -2.0 to +30.0; this is the gain"
    assert quoted in " ".join(said.split())
    assert "confirmation 2 against this opponent: the gain must hold at 99.7 %" in said


def test_a_decision_without_a_gain_to_quote_says_why_and_how_to_get_one(
    shown: Shown, comparison: RatedComparison
) -> None:
    given = {"decision": "promoted", "promoted": True, "reasons": (), "champion": "models:/t/2"}
    said = shown(print_decision, decided(comparison, **given, gain_missing="[no] disk"), wide=True)
    assert "its gain was not measured once more after it had passed: [no] disk\n" in said
    for number in (1, 2):
        assert f"\n  threeloops eval --model models:/t/{number} --seed SEED ...\n" in said
    assert said.index("SEED") < said.index("models:/t/2 is the champion now")


def changes(*groups: VerdictGroup, scored_before: bool = True) -> ScorerChange:
    return ScorerChange(
        before="final_int@1",
        after="mine[x]@2",
        scored_before=scored_before,
        rows=10,
        correct_in_both=4,
        correct_only_before=3,
        correct_only_after=2,
        correct_in_neither=1,
        groups=groups,
    )


def test_changed_verdicts_are_shown_with_a_table_and_their_rows(shown: Shown) -> None:
    row = ChangedVerdict(
        problem_id="p",
        sample_index=0,
        prompt="1 + 2?",
        completion="Final: 3\n",
        expected="3",
        reward=(1.0, 0.0),
        outcome=("correct", "bad_format"),
    )
    lost = VerdictGroup(direction="lost", codes=("exact", "[newline]"), count=3, rows=(row,))
    moved = VerdictGroup(direction="moved", codes=("a", "b"), count=1, rows=(row,))
    said = shown(print_changes, changes(lost, moved))
    rows = [" ".join(line.split()) for line in said.splitlines()]
    assert "10 completions mine[x]@2: correct not correct" in rows
    assert "correct for final_int@1 4 3" in rows
    assert "not correct 2 1" in rows
    assert "correct before, not now: 3  (exact -> [newline])" in said
    assert said.count("  1 + 2? -> Final: 3\\n  (expected Final: 3)") == 1, "not for what moved"
    assert said.endswith("same verdict, another reason: 1  (a -> b)")


def test_equal_verdicts_and_completions_that_had_none_are_told(shown: Shown) -> None:
    said = shown(print_changes, changes(scored_before=False))
    assert "These completions had no scores; final_int@1 was asked for the comparison." in said
    assert said.endswith("Every completion has the same verdict, for the same reason.")


def golden(*missed: GoldenMiss) -> GoldenResult:
    return GoldenResult(
        golden="rows.jsonl",
        dataset="arithmetic",
        scorer="final_int@1",
        rows=3,
        passed=not missed,
        false_positives=(),
        false_negatives=missed,
    )


def test_golden_rows_that_all_pass_take_two_lines(shown: Shown) -> None:
    said = shown(print_golden, golden())
    assert said == "final_int@1 on 3 golden rows\nEvery row gets exactly what it should."


def test_a_golden_row_that_is_missed_is_named_by_its_line(shown: Shown) -> None:
    miss = GoldenMiss(
        row=7,
        problem_id="a\t",
        completion="Final: 1 ",
        expected_answer="1",
        expected_reward=1.0,
        finish_reason="stop",
        reward=0.0,
        outcome="bad_format",
        code="trailing_space",
    )
    said = shown(print_golden, golden(miss))
    assert "False positives (exploits that pay): 0" in said
    assert "False negatives (right and not paid): 1\n  row 7, problem a\\t: Final: 1␠  gets" in said
    assert " ".join(said.split()).endswith("gets 0, not 1 (trailing_space; expected Final: 1)")


def test_no_name_in_a_comparison_begins_a_line_of_its_own(
    shown: Shown, comparison: RatedComparison
) -> None:
    forged = "m\nsame instrument"
    first, second = comparison.runs
    runs = first.model_copy(update={"name": forged}), second.model_copy(update={"model": forged})
    compared = comparison.model_copy(update={"runs": runs, "reading": (forged,)})
    lines = shown(print_comparison, compared, wide=True).splitlines()
    assert sum("m\\nsame instrument" in line for line in lines) == 3
    assert sum(line.startswith("same instrument") for line in lines) == 1
