"""Pass@1 on the split `dev` while learning goes on: to judge settings by, never the result.

It measures as loop A does; nothing that it draws or stores enters training.
"""

from __future__ import annotations

from artifacts.datasets.problems import has_split
from artifacts.recording.record import record_dev
from artifacts.runs.lineage import policies_on_the_way
from artifacts.tracking.run import TrackedRun
from flows.eval import measure
from policy.learning.guard import attribute_to_step
from schemas.config import DEV, LearningConfig
from schemas.errors import StoreError
from schemas.references import PolicyRef, TableRef
from schemas.measurements import StepRate
from tasks.runtime.progress import log_message


def dev_eval_steps(config: LearningConfig) -> frozenset[int]:
    """After which steps to look; none, and a line that says so, where there is no such split."""
    watched = config.dev_eval_steps()
    if watched and not has_split(config.dataset, DEV):
        log_message(f"the dataset has no split {DEV}, so nothing is measured while it learns")
        return frozenset()
    return watched


def evaluate_dev(
    config: LearningConfig, run: TrackedRun, policy: PolicyRef, watched: frozenset[int]
) -> list[StepRate]:
    """Measure a policy in the middle of learning, if its step is one to look at."""
    if policy.step not in watched:
        return []
    with attribute_to_step(policy.step):
        rate = measure(config.development(), policy).summary.pass_rate
    seen = StepRate(step=policy.step, rate=rate)
    log_message(record_dev(run, seen))
    run.start_laps()  # looking is no part of a step
    return [seen]


def restore_dev_rates(
    config: LearningConfig, start: PolicyRef, training: TableRef, watched: frozenset[int]
) -> list[StepRate]:
    """What was seen before a run was cut off, from the stored completions of its earlier steps."""
    seen = []
    for policy in policies_on_the_way(start, training):
        if policy.step not in watched:
            continue
        try:
            rate = measure(config.development(), policy).summary.pass_rate
        except StoreError:
            log_message(
                f"what was measured on {DEV} after step {policy.step} is no longer in the store"
            )
        else:
            seen.append(StepRate(step=policy.step, rate=rate))
    return seen
