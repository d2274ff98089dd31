"""Many runs, their failures and the rows of one, in a terminal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from artifacts.promotion.decisions import DecisionRecord
from artifacts.runs.listing import RowGroup
from artifacts.tracking.files import LocalFiles
from artifacts.tracking.history import RunRecord
from flows.cli.render.runs import (
    print_decisions,
    print_failures,
    print_report,
    print_rows,
    print_runs,
)
from schemas.loops import EVALUATION, LEARNING
from schemas.outputs import SharedFailure
from schemas.result_parts import CompletionRow, ShownRow

Shown = Callable[..., str]
MEASURED = {"pass_rate": 0.313, "pass_rate_low": 0.28, "pass_rate_high": 0.347}


def run(name: str = "eval-012345", **given: object) -> RunRecord:
    common = {
        "run_id": "0" * 32,
        "name": name,
        "loop": EVALUATION,
        "status": "FINISHED",
        "started_ms": 1_700_000_000_000,
        "metrics": MEASURED,
        "parameters": {},
        "tags": {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "instrument": "e" * 64},
        "find_files": lambda: LocalFiles(Path("/runs")),
    }
    return RunRecord(**common | given)  # type: ignore[arg-type]


def row(**given: object) -> dict[str, object]:
    return {
        "problem": "p",
        "sample": 0,
        "prompt": "1 + 2?",
        "expected": "3",
        "completion": "[bold]4\n",
        "outcome": "bad_format",
        "code": "other_text",
        "reward": 0.0,
        "sum_logprob": None,
        "tokens": None,
        "family": None,
    } | given


def test_a_run_takes_one_line_with_its_rate_and_interval(shown: Shown) -> None:
    child = run("eval-abcdef", tags={"stage": "before", "model": "m"}, status="FAILED")
    parent = run("learn-012345", loop=LEARNING, metrics={})
    lines = shown(print_runs, [(0, run()), (0, parent), (1, child)], 5, 9).splitlines()
    assert lines[0].split() == ["run", "loop", "started", "pass@1,", "%", "model", "instrument"]
    assert "31 [28, 35]" in lines[1]
    assert "…M-Instruct" in lines[1], "the end of a name tells models apart"
    assert lines[1].endswith("eeeeeeee")
    assert lines[3].startswith("  eval-abcdef")
    assert "A before" in lines[3]
    assert "failed" in lines[3]
    assert lines[-1] == "2 more runs not shown; --limit 5 shows all"


def test_no_runs_and_no_run_that_fits_are_told_apart(shown: Shown) -> None:
    assert "threeloops demo" in shown(print_runs, [], 0, 0)
    assert shown(print_runs, [], 0, 9) == "None of the 9 runs fits; leave a filter out."


def test_a_decision_takes_one_line_with_its_gain(shown: Shown) -> None:
    gain = {"gain_value": 0.1, "gain_low": -0.02, "gain_high": 0.3}
    decisions = [
        DecisionRecord(
            "r",
            f"promote-{n}",
            1_700_000_000_000,
            1_700_000_000_000,
            "refused",
            "m",
            "c",
            metrics,
            lambda: LocalFiles(Path("/d")),
        )
        for n, metrics in enumerate([gain, {}])
    ]
    lines = shown(print_decisions, decisions).splitlines()
    assert lines[2].endswith("+10.0 [-2.0, +30.0]")
    assert lines[3].endswith("not known")


def test_failures_of_several_runs_have_one_example_each(shown: Shown) -> None:
    example = CompletionRow.model_validate(row(completion="x" * 90))
    group = SharedFailure(
        outcome="bad_format",
        code="[other]",
        completions=7,
        runs=("a", "b", "c"),
        example=example,
    )
    said = shown(print_failures, [group])
    assert "bad format / [other]: 7 in a, b, …" in said
    assert f"  {'x' * 59}…  (expected Final: 3)" in " ".join(said.splitlines())
    assert shown(print_failures, []).endswith("none")


def test_chosen_rows_stand_under_the_count_of_their_code(shown: Shown) -> None:
    rows = (
        ShownRow.model_validate(row(times=3)),
        ShownRow.model_validate(row(times=1, completion="5")),
    )
    groups = [RowGroup("bad_format", "other_text", 12, rows), RowGroup("truncated", "[c]", 2, ())]
    assert shown(print_rows, groups).splitlines() == [
        "",
        "bad format / other_text: 12",
        "  1 + 2? -> [bold]4\\n  (expected Final: 3, 3 times)",
        "  1 + 2? -> 5  (expected Final: 3)",
        "",
        "truncated / [c]: 2",
    ]


def test_a_report_is_named_or_said_to_be_missing(shown: Shown) -> None:
    path = f"/{'long/' * 20}report.html"
    assert shown(print_report, path, "", wide=True).endswith(f"for a browser: {path}")
    said = shown(print_report, None, "OSError: [Errno 28] no space")
    assert said.endswith("no report was kept (OSError: [Errno 28] no space)")
