"""What a demo found, kept in the run that its three loops are children of.

It repeats their numbers side by side and measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from artifacts.text.markdown import code, table
from artifacts.text.numbers import interval, percent
from artifacts.tracking.run import RESULT_FILE, RESULT_FORMAT, TrackedRun
from schemas.config import LearningConfig

Row = Mapping[str, Any]


def record_demo(
    run: TrackedRun,
    config: LearningConfig,
    rows: Sequence[Row],
    results: Mapping[str, Mapping[str, Any]],
) -> None:
    """Keep the table that compares the loops, as description, metrics and result."""
    learned = results["C"]
    rates = {name: learned["metrics"][name] for name in ("pass_rate_before", "pass_rate_after")}
    rules = results["B"]["metrics"]["selected_pass_rate"]
    run.metrics(
        rates
        | {f"selected_pass_rate.{rule}": rate for rule, rate in rules.items()}
        | {"kl_nats": learned["metrics"]["kl_nats"]}
    )
    run.tag(
        instrument=learned["instrument"]["digest"],
        model=results["A"]["model"]["name"],
        registered=learned["model"]["name"],
    )
    run.describe(describe_demo(config, rows, learned["model"]["name"]))
    run.json(
        RESULT_FILE,
        {
            "run_id": run.run_id,
            "loop": run.loop.letter,
            "demo": list(rows),
            "runs": {letter: result["run_id"] for letter, result in results.items()},
            "model": learned["model"],
            "instrument": learned["instrument"],
            "config": config.model_dump(mode="json"),
            "format": RESULT_FORMAT,
        },
    )


def describe_demo(config: LearningConfig, rows: Sequence[Row], made: str) -> str:
    """Markdown: before and after for each loop, in one table."""
    cells = [
        (
            row["loop"],
            row["what"].removesuffix("*") + (" (knows the answer)" if "*" in row["what"] else ""),
            row["changed"],
            *(_rate(row, name) for name in ("pass_at_1", "pass_at_4")),
            "" if row["kl_nats"] is None else f"{row['kl_nats']:.2f}",
        )
        for row in rows
    ]
    columns = ("loop", "what", "changed", ">pass@1", ">pass@4", ">KL, nats")
    start, end = (percent(rows[place]["pass_at_1"]) for place in (0, -1))
    return "\n".join(
        [
            f"### pass@1 {start} at the start, {end} after learning",
            "",
            f"The three loops one after another on the same {rows[0]['problems']} problems of "
            f"{code(config.dataset)} {config.split}, model {code(config.model)}, scorer "
            f"{code(config.scorer)}; learning made {code(made)}.",
            "",
            *table(columns, cells),
            "",
            "95 % intervals in brackets. Each loop is a child of this run.",
        ]
    )


def _rate(row: Row, name: str) -> str:
    if row[name] is None:
        return ""
    return f"{percent(row[name])} ({interval(*row[f'{name}_interval'])})"
