"""The whole story on one model and one table: measure, select, learn, measure again.

It starts the three flows one after another; each is a run of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flows.terminal import Terminal
from schemas.config import LearningConfig, RunConfig, SelectionConfig

SELECT_SAMPLES = 8
STORY = {
    "A": "how good is it right now?",
    "B": "how far does search alone get?",
    "C": "can the model itself get better?",
}


def run_demo(config: LearningConfig, terminal: Terminal) -> dict[str, Any]:
    """Run loops A, B and C; the result holds all three and the table that compares them."""
    from flows.eval import eval_flow
    from flows.learning import learning_flow
    from flows.render import show_result
    from flows.selection import selection_flow

    shared = {name: getattr(config, name) for name in RunConfig.model_fields}
    selecting = SelectionConfig(**shared, samples=SELECT_SAMPLES)
    plan: dict[str, Callable[[], dict[str, Any]]] = {
        "A": lambda: eval_flow(config.evaluation()),
        "B": lambda: selection_flow(selecting),
        "C": lambda: learning_flow(config),
    }
    results: dict[str, dict[str, Any]] = {}
    terminal.note("starting Prefect's own server; the first time takes half a minute")
    with terminal.progress():
        for letter, run_loop in plan.items():
            terminal.out.rule(f"Loop {letter}: {STORY[letter]}", align="left", style="dim")
            results[letter] = run_loop()
            show_result(terminal.out, results[letter])
    terminal.out.rule("The three loops on the same holdout", align="left", style="bold")
    rows = comparison_rows(results)
    show_comparison(terminal, rows)
    picture = results["C"]["pictures"]["learning.png"]
    terminal.out.print(f"picture  {picture}", soft_wrap=True, markup=False)
    terminal.out.print("look further with: threeloops runs; threeloops show RUN; threeloops up")
    return results["C"] | {"demo": rows, "runs": {k: r["run_id"] for k, r in results.items()}}


def comparison_rows(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Before and after for each loop: pass@1, pass@4, right format, and KL to the start in nats.

    For loop B the model stays; the divergence is that of what the oracle picks.
    """
    start, search, learned = results["A"], results["B"], results["C"]
    rows = [
        {
            "loop": "A",
            "changed": "nothing",
            "what": "the start, measured",
            **_numbers(start),
            "kl_nats": 0.0,
        }
    ]
    for rule, selected in search["selected"].items():
        oracle = "*" if rule == "oracle" else ""
        rows.append(
            {
                "loop": "B",
                "changed": "the output",
                "what": f"best of {search['samples']} by {rule}{oracle}",
                "pass_at_1": selected["rate"]["value"],
                "pass_at_1_interval": [selected["rate"]["low"], selected["rate"]["high"]],
                "pass_at_4": None,
                "pass_at_4_interval": None,
                "right_format": None,
                "kl_nats": search["best_of_n"]["divergence_nats"]["value"] if oracle else None,
            }
        )
    rows.append(
        {
            "loop": "C",
            "changed": "the model",
            "what": f"after {learned['metrics']['steps']} steps",
            **_numbers(learned["after"]),
            "kl_nats": learned["metrics"]["kl_nats"],
        }
    )
    return rows


def show_comparison(terminal: Terminal, rows: list[dict[str, Any]]) -> None:
    """The one table that the demo ends with."""
    from flows.render import table

    drawn = table("loop", "what", "changed", "pass@1, %", "pass@4, %", "KL, nats")
    for row in rows:
        drawn.add_row(
            row["loop"],
            row["what"],
            row["changed"],
            *(_with_interval(row, name) for name in ("pass_at_1", "pass_at_4")),
            "" if row["kl_nats"] is None else f"{row['kl_nats']:.2f}",
        )
    terminal.out.print(drawn)
    terminal.out.print(
        f"n = {rows[0]['problems']} problems, 95 % intervals in brackets\n"
        "* knows the expected answer: what a perfect judge could pick",
        style="dim",
    )


def _with_interval(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return ""
    low, high = row[f"{name}_interval"]
    return f"{100 * row[name]:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _numbers(result: dict[str, Any]) -> dict[str, Any]:
    metrics, intervals = result["metrics"], result["intervals"]["pass_at_k"]
    return {
        "problems": metrics["problems"],
        "pass_at_1": metrics["pass_rate"],
        "pass_at_1_interval": [metrics["pass_rate_low"], metrics["pass_rate_high"]],
        "pass_at_4": metrics["pass_at_k"].get("4"),
        "pass_at_4_interval": intervals.get("4"),
        "right_format": metrics["right_format"],
    }
