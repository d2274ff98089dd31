"""The steps of learning, and the way back to the last good one where learning must stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from artifacts.recording.record import RecordedStep, name_newest_step, record_step, record_stop
from artifacts.runs.resuming import made_steps
from flows.development import evaluate_dev, restore_dev_rates
from flows.learning_run import LearningRun
from flows.step_sampling import samples_of
from schemas.errors import StoppedError, StoreError
from schemas.measurements import StepRate
from schemas.references import PolicyRef, TableRef
from tasks.checkpoint import checkpoint, restore
from tasks.collect_training import collect_training
from tasks.drop_sampled import drop_sampled
from tasks.runtime.progress import Progress, ProgressHub
from tasks.score import score
from tasks.train_step import train_step

HOLDS = 10  # equal runs at once are few, and each drops what a step sampled once
WITHOUT_SIGNAL_WARNING = 10  # steps in a row whose rewards could teach nothing


def learn(run: LearningRun, *, resumed: bool) -> tuple[PolicyRef, TableRef, list[StepRate]]:
    """Every step from the start or from the newest checkpoint, and what dev showed on the way.

    Returns the policy that came of it and the newest step's table. Where no other step fits into
    `max_minutes` it ends, after one step or more.
    """
    config = run.config
    policy, newest = run.start, None
    if resumed:
        policy, newest = restore(run.start, run.tracked.reference, config)
        run.made |= made_steps(run.runtime.archive, run.tracked.run_id)
    run.clock.start_step()
    dev = restore_dev_rates(run, newest) if newest else evaluate_dev(run, policy, newest)
    run.clock.start_step()
    for step in range(policy.step + 1, config.steps + 1):
        with run.attributed(policy, newest):
            policy, newest = take_step(run, policy, newest)
        run.turn.refuse_lost(f"step {step}")
        recorded = record_step(run.tracked, config, newest, run.clock.end_step())
        left = run.seconds_left(step)
        report_step(run.runtime.progress, config.steps, recorded, left)
        dev += evaluate_dev(run, policy, newest)
        if step == config.steps:
            break
        ended = run.out_of_time(step)
        if ended or step % config.checkpoint_every == 0:
            run.turn.refuse_lost("the checkpoint")
            checkpoint(policy, newest, run.tracked.reference, run.checkpoints)
        if ended:
            run.runtime.progress.log_message(
                f"no other step fits into {config.max_minutes:g} minutes: learning ends after "
                f"{step} of {config.steps} steps"
            )
            break
    assert newest is not None  # a configuration has at least one step
    return policy, newest, dev


def take_step(
    run: LearningRun, policy: PolicyRef, before: TableRef | None
) -> tuple[PolicyRef, TableRef]:
    """One step: draw problems, generate, score, train; what is left of it is one table.

    `before` is the table of the step before. What was sampled is dropped once the run names the
    table that holds it. Where the step was made before, it learns from the same completions again.
    Raises InputError, and neither names nor drops anything, where another machine has this run now.
    """
    config, step = run.config, policy.step + 1
    samples = samples_of(run, policy, before)
    batch, completions = samples.problems, _held(run, samples.make)
    scores = _held(run, lambda: score(batch, completions, config.scorer))
    reached, table = train_step(policy, batch, completions, scores, before, config, samples.by)
    run.turn.refuse_lost(f"step {step}")  # what follows is the run's, and not this process's alone
    if run.make(step, table):
        name_newest_step(run.tracked, table)
    drop_sampled(completions, scores)
    return reached, table


def _held(run: LearningRun, make: Callable[[], TableRef]) -> TableRef:
    """A table that an equal run on another device does not drop before this one does.

    Where that run has dropped it before it could be held, it is made again. Processes that learn
    together stay in step: those that follow know of no step, and sample once more if they are told.
    Raises StoreError where it goes each time.
    """
    for _ in range(HOLDS):
        if run.runtime.store.hold(table := make()):
            return table
    raise StoreError(
        f"it was deleted {HOLDS} times before it could be used",
        f"{table.kind} table {table.digest[:12]}",
        "see what else deletes files in the data folder, and go on with --resume",
    )


def keep_last_good(run: LearningRun, stop: StoppedError) -> StoppedError:
    """Keep the last good policy as a checkpoint; returns the error that says where it is."""
    stop.with_traceback(None).__context__ = None  # they hold the whole learner
    run.runtime.models.forget()
    run.turn.refuse_lost("why it stopped")
    training = rewind_to(run, stop.last_good) if stop.last_good else None
    return record_stop(run.tracked, stop, training)


def rewind_to(run: LearningRun, last: int) -> TableRef:
    """Reach an earlier step again, from the checkpoint before it and the steps' tables.

    Returns the training table up to that step.
    """
    run.turn.refuse_lost("the last good policy")  # what follows deletes later checkpoints
    run.runtime.progress.log_message(f"going back to step {last}, the last good one")
    policy, newest = restore(run.start, run.tracked.reference, run.config, last)
    # the limit on KL has no part in what an update does, and must not stop these steps again
    unlimited = run.config.model_copy(update={"max_kl_nats": None})
    run = replace(run, config=unlimited, until=last)
    while policy.step < last:
        policy, newest = take_step(run, policy, newest)
    assert newest is not None  # `last` is at least 1
    run.turn.refuse_lost("the checkpoint")
    checkpoint(policy, newest, run.tracked.reference, run.checkpoints)
    return collect_training(newest)


def report_step(
    progress: ProgressHub, steps: int, recorded: RecordedStep, seconds_left: float | None = None
) -> None:
    """Report that a step of learning is done, with its reward and its KL.

    Every `WITHOUT_SIGNAL_WARNING` steps whose rewards could teach nothing there is a warning with
    what to do.
    """
    row, idle = recorded.row, recorded.without_signal
    notes = {"reward": f"{row.reward_mean:.2f}", "KL": f"{row.kl_nats:.2f}"}
    progress.report(
        Progress("learning", row.step, steps, "steps", notes=notes, seconds_left=seconds_left)
    )
    if idle and idle % WITHOUT_SIGNAL_WARNING == 0:
        problems = "harder" if row.reward_mean > 0.5 else "easier"
        progress.log_message(
            f"warning: in the last {idle} steps all completions of a problem earned the same "
            f"reward, {row.reward_mean:.2f} on average now, which teaches nothing; "
            f"try {problems} problems, more --samples or another --template"
        )
