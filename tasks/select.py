"""Task select: each selection rule picks one completion a problem; the picks become a table."""

from __future__ import annotations

from artifacts.store.keys import task_key
from schemas.config import SelectionRule
from schemas.measurements import Measurement, Selection
from schemas.provenance import Settings
from scorers.selection.picked import divergence_of_best, pick_all, possible_rules, selected_rates
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("select", "select 1 of {measured.summary.samples}")
def select(measured: Measurement, wanted: tuple[SelectionRule, ...] | None, seed: int) -> Selection:
    """Pick by every wanted rule, or by all that can be used; measure what each picked.

    Only the rule `oracle` is given the rewards to pick by; for the others they are looked up after.
    """
    store = process_runtime().store
    completions, scores = store.read(measured.completions), store.read(measured.scores)
    rules = wanted or possible_rules(completions)
    parents = {"completions": measured.completions.digest, "scores": measured.scores.digest}
    # tables of earlier versions do not say whether tied rewards differ, so they are made anew
    config: Settings = {"rules": list(rules), "seed": seed, "ties": "rewards"}
    key = task_key("selections", "select", parents=parents, config=config)
    picks = store.find(key) or store.keep(key, pick_all(completions, scores, rules, seed))
    nats, bound = divergence_of_best(scores)
    return Selection(
        picks=picks,
        rates=selected_rates(store.read(picks), scores),
        divergence_nats=nats,
        divergence_bound_nats=bound,
    )
