"""One text's verdict, and the answers to one question, as a person reads them in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from artifacts.text.codes import rule_in_words
from artifacts.text.visible import printable, visible
from schemas.finish_reasons import LENGTH
from schemas.outputs import AskedAnswer, AskOutput, ScoreOutput, VerdictShown


def print_score(console: Console, output: ScoreOutput) -> None:
    """The text with what cannot be seen, the verdict, and the rule without its patterns."""
    line = Text(visible(output.text), style="bold")
    line.append(f"  (expected {output.expected_answer}, {output.finish_reason})", style="dim")
    console.print(line, soft_wrap=True)
    console.print(_verdict(output.verdict))
    console.print(f"\nThe rule of {output.scorer}:", markup=False)
    told = rule_in_words(output.rule)
    console.print(printable(told), markup=False, highlight=False)
    if len(told) < len(" ".join(output.rule.split())):
        console.print("--json has the rule with the pattern of each code", style="dim")


def print_answers(console: Console, output: AskOutput) -> None:
    """Each answer with its tokens apart, how likely it was, and its verdict."""
    console.print(
        printable(
            f"{output.model}, {output.template}: {output.prompt_tokens} tokens of prompt, "
            f"{len(output.answers)} answer{'' if len(output.answers) == 1 else 's'}"
        ),
        style="dim",
        markup=False,
    )
    for answer in output.answers:
        console.print(Text(visible(answer.text) or "(nothing)", style="bold"), soft_wrap=True)
        console.print(_tokens(answer), soft_wrap=True)
        if answer.verdict:
            console.print(Text("  ").append(_verdict(answer.verdict)))
    if output.expected_answer is None:
        console.print("--expected INT judges each answer", style="dim")
    else:
        right = sum(
            answer.verdict is not None and answer.verdict.reward == 1 for answer in output.answers
        )
        console.print(
            f"{right} of {len(output.answers)} earn reward 1 from {output.scorer}: one problem, "
            "which says nothing of others",
            markup=False,
        )


def _tokens(answer: AskedAnswer) -> Text:
    shown = "|".join(visible(piece) for piece in answer.tokens)
    cut = ", cut off" if answer.finish_reason == LENGTH else ""
    return Text(
        f"  {len(answer.tokens)} tokens{cut}: {shown}   {answer.logprob:.2f} nats", style="dim"
    )


def _verdict(verdict: VerdictShown) -> Text:
    style = "green" if verdict.reward == 1 else "red"
    line = Text(f"reward {verdict.reward:g}", style=style)
    line.append(f"  {verdict.outcome}, {verdict.code}")
    if verdict.words:
        line.append(f": {verdict.words}")
    return line
