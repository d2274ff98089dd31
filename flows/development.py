"""Pass@1 on the split `dev` while learning goes on: to choose settings by, never the result.

Nothing that is sampled here enters training.
"""

from __future__ import annotations

from artifacts.recording.record import record_dev
from artifacts.runs.lineage import numerics_of_steps, policies_on_the_way
from flows.eval import measure
from flows.learning_run import LearningRun
from policy.parallel.place import of_one_rank
from schemas.config import DEV, LearningConfig
from schemas.errors import StoreError
from schemas.measurements import StepRate
from schemas.references import PolicyRef, TableRef
from tasks.runtime.runtime import Runtime


def dev_eval_steps(runtime: Runtime, config: LearningConfig) -> frozenset[int]:
    """After which steps dev is measured; none, and a line that says so, without such a split."""
    steps = config.dev_eval_steps()
    if steps and not runtime.datasets.has_split(config.dataset, DEV, config.columns):
        runtime.progress.log_message(
            f"the dataset has no split {DEV}, so nothing is measured while it learns"
        )
        return frozenset()
    return steps


def evaluate_dev(run: LearningRun, policy: PolicyRef, newest: TableRef | None) -> list[StepRate]:
    """Measure a policy in the middle of learning, if its step is one of `dev_steps`."""
    if policy.step not in run.dev_steps:
        return []
    with run.attributed(policy, newest):
        rate = measure(run.runtime, run.config.development(), policy).summary.pass_rate
    seen = StepRate(step=policy.step, rate=rate)
    run.turn.refuse_lost(f"what was measured on {DEV}")
    run.runtime.progress.log_message(record_dev(run.tracked, seen))
    run.clock.end_dev()  # measuring is no part of a step
    return [seen]


def restore_dev_rates(run: LearningRun, newest: TableRef) -> list[StepRate]:
    """What was measured before a run was cut off, from the stored completions of that time.

    They are found with the numerics of that time, which may not be those of this process.
    """
    rates = []
    computed = numerics_of_steps(run.runtime.store, newest) if run.dev_steps else {}
    for policy in policies_on_the_way(run.runtime.store, run.start, newest):
        if policy.step not in run.dev_steps:
            continue
        try:
            by = of_one_rank(computed.get(max(policy.step, 1), ""))
            measured = measure(run.runtime, run.config.development(), policy, computed_by=by)
        except StoreError:
            run.runtime.progress.log_message(
                f"what was measured on {DEV} after step {policy.step} is no longer in the store"
            )
        else:
            rates.append(StepRate(step=policy.step, rate=measured.summary.pass_rate))
    return rates
