"""Task select: each selection rule picks one completion a problem; the picks become a table.

Only the rule `oracle` is given the rewards to pick by; for the others they are looked up after.
"""

from __future__ import annotations

from artifacts.store import Store, task_key
from schemas.config import SelectionRule
from schemas.references import TableRef
from schemas.results import Measurement, SelectedRate
from scorers.picked import pick_all, possible_rules, selected_rates
from tasks.pipeline_task import pipeline_task


@pipeline_task("select", "select 1 of {measured.summary.samples}")
def select(
    measured: Measurement, wanted: tuple[SelectionRule, ...] | None, seed: int
) -> tuple[TableRef, list[SelectedRate]]:
    """Pick by every wanted rule, or by all that can be used.

    Returns the selections table and each rule's pass rate.
    """
    store = Store()
    answers, verdicts = store.read(measured.completions), store.read(measured.scores)
    rules = wanted or possible_rules(answers)
    key = task_key(
        "select",
        completions=measured.completions.digest,
        scores=measured.scores.digest,
        rules=rules,
        seed=seed,
    )
    table = pick_all(answers, verdicts, rules, seed)
    written = store.write(
        "selections",
        table,
        producer="select",
        parents={
            "completions": measured.completions.digest,
            "scores": measured.scores.digest,
        },
        config={"rules": list(rules), "seed": seed},
        key=key,
    )
    return written, selected_rates(table, measured.summary.pass_rate)
