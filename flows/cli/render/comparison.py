"""Two scorers' verdicts, or two runs, as a person reads them in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from artifacts.text.numbers import (
    counted,
    nats,
    percent,
    points,
    points_interval,
    rate_interval,
)
from artifacts.text.visible import DIGEST_SHOWN, printable, short_digests, visible
from flows.cli.render.results import table
from schemas.outputs import GoldenResult
from schemas.result_parts import (
    ComparedRun,
    FlippedProblem,
    PairedDifference,
    ScorerChange,
)
from schemas.results import Comparison, RatedComparison
from scorers.statistics.paired import FEWEST

HANGING = len("A  ")
DIRECTIONS = {
    "lost": "correct before, not now",
    "won": "correct now, not before",
    "moved": "same verdict, another reason",
}
TESTS = {
    "student_paired": "paired test over problems, from the same numbers as the interval",
    # decisions that earlier versions recorded
    "mcnemar_exact": "McNemar's exact test",
    "sign_flip_exact": "an exact permutation test over problems",
    "sign_flip_sampled": "a permutation test over problems",
}


def print_comparison(console: Console, result: Comparison) -> None:
    """Two runs: what each was, which parts differ, and, where they may be compared, by how much."""
    for letter, run in zip("AB", result.runs, strict=True):
        _print_hanging(console, _one_run(letter, run))
        if run.engine is not None:
            _print_hanging(console, Text(f"   {printable(run.engine.words)}", style="dim"))
    print_differing(console, result)
    if isinstance(result, RatedComparison):
        _print_difference(console, result)
        difference, flipped = result.difference, result.flipped
        _print_flips(console, "right in B more often", difference.better, flipped.better)
        _print_flips(console, "right in A more often", difference.worse, flipped.worse)
    for sentence in result.reading:
        console.print(printable(sentence), markup=False)


def _print_hanging(console: Console, text: Text) -> None:
    """Print a text whose further lines stand below what follows its letter."""
    for number, line in enumerate(text.wrap(console, console.width - HANGING)):
        line.rstrip()
        console.print(line if number == 0 else Text(" " * HANGING).append(line), soft_wrap=True)


def print_differing(console: Console, result: Comparison) -> None:
    """The parts in which the instruments differ, with both values."""
    if result.same_instrument:
        scorer = result.instrument.parts.scorer.partition(":")[0]
        digest = result.instrument.digest[:DIGEST_SHOWN]
        console.print(f"same instrument {digest}, scorer {scorer}", style="dim", markup=False)
        return
    console.print("The instruments differ:", style="bold red")
    for part, values in result.differs.items():
        note = " (allowed)" if part in result.allowed else ""
        console.print(f"  {part}{note}", markup=False)
        for letter, value in zip("AB", values, strict=True):
            console.print(
                f"    {letter}  {short_digests(printable(value))}", markup=False, soft_wrap=True
            )
    if result.allowed and result.comparable:
        console.print(
            "Compared all the same, as allowed: the difference may be the instrument's.",
            style="bold red",
        )


def _one_run(letter: str, run: ComparedRun) -> Text:
    line = Text(f"{letter}  ").append(printable(run.name), style="bold")
    line.append(f"  loop {run.loop}, changed: {run.changed}; {printable(run.model)}")
    if run.kl_nats is not None:
        steps = counted(run.steps or 0, "step")
        line.append(f" after {steps}, {nats(run.kl_nats)} nats from its start")
    problems, samples = counted(run.problems, "problem"), counted(run.samples, "sample")
    return line.append(f"; {problems} x {samples}")


def _print_difference(console: Console, result: RatedComparison) -> None:
    difference = result.difference
    lines = table("", "rate", "95 % interval", "problems")
    for letter, rate in zip("AB", result.pass_rates, strict=True):
        lines.add_row(
            f"pass rate {letter}", percent(rate.value), rate_interval(rate), str(rate.problems)
        )
    lines.add_section()
    changes = {"B - A, points": difference}
    changes |= {f"  {name}": change for name, change in result.families.items()}
    for name, change in changes.items():
        lines.add_row(name, points(change.value), points_interval(change), str(change.problems))
    console.print(lines)
    p = f"p = {result.p_value:.4f}" if result.p_value >= 0.0001 else "p < 0.0001"
    console.print(f"{TESTS[result.test]}: {p}", markup=False)
    console.print(
        f"{difference.problems} problems: {difference.better} better, "
        f"{difference.worse} worse; {_what_is_found(difference)}"
    )
    every = {"B - A": difference} | dict(result.families)
    few = [name for name, change in every.items() if change.problems < FEWEST]
    if few:
        console.print(
            f"with fewer than {FEWEST} problems no result differs from 0: {', '.join(few)}",
            markup=False,
        )
    if any(result.left_out):
        ours, theirs = result.left_out
        console.print(f"left out: {ours} problems only in A, {theirs} only in B", style="bold red")


def _what_is_found(difference: PairedDifference) -> str:
    """What so many problems find, with the power that `bench.referee` measures for so many."""
    if difference.detectable >= 1:
        return "with so few no difference is found four times in five"
    size = points(difference.detectable).lstrip("+")
    return (
        f"so many find a true difference of {size} points about four times in five (in 70 to "
        "97 %, where it varies from problem to problem by up to its own size)"
    )


def _print_flips(
    console: Console, words: str, total: int, flips: tuple[FlippedProblem, ...]
) -> None:
    """Some of the `total` problems that flipped one way, each with an answer of either run."""
    if not flips:
        return
    console.print(f"{words}: {total}", style="bold")
    for flip in flips:
        line = Text(f"  {visible(flip.prompt)}")
        line.append(f"  (expected Final: {flip.expected_answer})", style="dim")
        for letter, counts, answer in (
            ("A", flip.before, flip.answer_before),
            ("B", flip.after, flip.answer_after),
        ):
            right, all_of_them = counts
            line.append(f"\n    {letter} {right}/{all_of_them}  ")
            line.append(visible(answer.text), style="bold")
            line.append(f"  ({printable(answer.code)})", style="dim")
        console.print(line)


def print_changes(console: Console, changes: ScorerChange) -> None:
    """The 2 × 2 of two scorers' verdicts and the rows that changed, most telling first."""
    before, after = changes.before, changes.after
    console.print(f"\nWhat changed from {before} to {after}", style="bold", markup=False)
    if not changes.scored_before:
        console.print(
            f"These completions had no scores; {before} was asked for the comparison.",
            markup=False,
        )
    lines = table(f"{changes.rows} completions", f"{after}: correct", "not correct")
    both, lost = str(changes.correct_in_both), str(changes.correct_only_before)
    won, neither = str(changes.correct_only_after), str(changes.correct_in_neither)
    lines.add_row(f"correct for {before}", both, lost)
    lines.add_row("not correct", won, neither)
    console.print(lines)
    if not changes.groups:
        console.print("Every completion has the same verdict, for the same reason.")
    for group in changes.groups:
        codes = printable(" -> ".join(group.codes))
        words = DIRECTIONS[group.direction]
        console.print(f"\n{words}: {group.count}  ({codes})", style="bold", markup=False)
        for row in group.rows if group.direction != "moved" else ():
            console.print(answer_line(row.prompt, row.completion, row.expected))


def print_golden(console: Console, result: GoldenResult) -> None:
    """Whether a scorer gives every golden row what it should get, and which not."""
    console.print(f"{result.scorer} on {result.rows} golden rows", style="bold", markup=False)
    if result.passed:
        console.print("Every row gets exactly what it should.", style="bold green")
        return
    for words, missed in (
        ("False positives (exploits that pay)", result.false_positives),
        ("False negatives (right and not paid)", result.false_negatives),
    ):
        console.print(f"{words}: {len(missed)}", style="bold red" if missed else "bold")
        for miss in missed:
            console.print(
                Text(f"  row {miss.row}, problem {visible(miss.problem_id)}: ")
                .append(visible(miss.completion), style="bold")
                .append(
                    f"  gets {miss.reward:g}, not {miss.expected_reward:g} "
                    f"({printable(miss.code)}; expected Final: {miss.expected_answer})",
                    style="dim",
                )
            )


def answer_line(prompt: str, completion: str, expected: str, times: int = 1) -> Text:
    """A prompt, the completion that answered it, `times` times, and the answer it should have."""
    line = Text(f"  {visible(prompt)} -> ")
    line.append(visible(completion), style="bold")
    repeated = f", {times} times" if times > 1 else ""
    return line.append(f"  (expected Final: {expected}{repeated})", style="dim")
