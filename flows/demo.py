"""The whole story on one model and one table: measure, select, learn, measure again.

It starts the three flows one after another; each is a run of its own, inside the demo's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from schemas.config import LearningConfig, RunConfig, SelectionConfig
from schemas.loops import DEMO

SELECT_SAMPLES = 8
# the demo's run, the rows that compare the loops, and each loop's result
Told = tuple[str, list[dict[str, Any]], dict[str, dict[str, Any]]]
DemoFlow = Callable[[LearningConfig], Told]


def demo_flow(begins: Callable[[str], None], ended: Callable[[dict[str, Any]], None]) -> DemoFlow:
    """The flow that has the three loops as its parts.

    `begins` is called with a loop's letter before it starts, `ended` with its result.
    """
    from prefect import flow

    from artifacts.recording.demo import record_demo
    from flows.eval import eval_flow
    from flows.learning import learning_flow
    from flows.orchestration.links import recorded_run
    from flows.selection import selection_flow

    @flow(name="demo", flow_run_name="demo of {config.model}", persist_result=False)
    def demo(config: LearningConfig) -> Told:
        shared = {name: getattr(config, name) for name in RunConfig.model_fields}
        selecting = SelectionConfig(**shared, samples=SELECT_SAMPLES)
        plan: dict[str, Callable[[], dict[str, Any]]] = {
            "A": lambda: eval_flow(config.evaluation()),
            "B": lambda: selection_flow(selecting),
            "C": lambda: learning_flow(config),
        }
        results: dict[str, dict[str, Any]] = {}
        with recorded_run(DEMO, config) as run:
            for letter, run_loop in plan.items():
                begins(letter)
                results[letter] = run_loop()
                ended(results[letter])
            rows = comparison_rows(results)
            record_demo(run, config, rows, results)
        return run.run_id, rows, results

    return demo


def comparison_rows(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Before and after for each loop: pass@1, pass@4, valid format, and KL to the start in nats.

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
                "valid_format_rate": None,
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


def _numbers(result: dict[str, Any]) -> dict[str, Any]:
    metrics, intervals = result["metrics"], result["intervals"]["pass_at_k"]
    return {
        "problems": metrics["problems"],
        "pass_at_1": metrics["pass_rate"],
        "pass_at_1_interval": [metrics["pass_rate_low"], metrics["pass_rate_high"]],
        "pass_at_4": metrics["pass_at_k"].get("4"),
        "pass_at_4_interval": intervals.get("4"),
        "valid_format_rate": metrics["valid_format_rate"],
    }
