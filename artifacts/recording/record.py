"""From measurements to what is kept and shown: metrics, tables, pictures and one result."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from artifacts.recording.measured_rows import MeasuredRows
from artifacts.report.learning_picture import learning_picture
from artifacts.report.pictures import pass_at_k_picture
from artifacts.report.views import completions_view, failure_groups
from artifacts.report.write import keep_report
from artifacts.store.checkpoints import checkpoint_folder
from artifacts.store.engine import engine_of
from artifacts.store.origin import told_of
from artifacts.store.parquet_table import provenance_of
from artifacts.text.describe import describe_result
from artifacts.text.numbers import percent
from artifacts.tracking.connection import NEWEST_STEP, RESULT_FILE
from artifacts.tracking.inputs import measured_on, use_dataset
from artifacts.tracking.logged_models import discard_model, model_folder
from artifacts.tracking.run import TrackedRun
from schemas.config import DEV, GROUP_BASELINES, EvalConfig, LearningConfig, SelectionConfig
from schemas.engine import NOT_KNOWN, EngineRecord
from schemas.errors import StoppedError
from schemas.identity import digest_of
from schemas.measurements import Learned, Selection, StepRate, Summary
from schemas.references import PolicyRef, TableRef
from schemas.result_parts import (
    BestOfN,
    DevRate,
    EndedBy,
    InstrumentRecord,
    LearnedModel,
    LearningMetrics,
    ModelRecord,
    PairedDifference,
    Rates,
    SelectionMetrics,
)
from schemas.results import EvalResult, LearningResult, SelectionResult
from schemas.training import TrainingRow, clipped_steps, steps_without_signal, training_rows
from scorers.statistics.counts import correct_counts
from scorers.statistics.paired import compare_paired

R = TypeVar("R", EvalResult, SelectionResult, LearningResult)
REPLAYED = ModelRecord(name="stored completions", digest=None, folder=None)


def record_measurement(run: TrackedRun, rows: MeasuredRows, dataset: str, stage: str = "") -> None:
    """Keep a measurement's tables, metrics, instrument and a readable table with the run.

    `dataset` names its problems. `stage` (`before`, `after`) goes into the names where a run
    measures more than once; the run of the stage has the copies of the tables, and ties its
    metrics to model and dataset.
    """
    measured, suffix = rows.measured, f"_{stage}" if stage else ""
    run.instrument(measured.instrument)
    if engine := engine_of(provenance_of(rows.completions)):
        run.tag(engine=engine.words)
    if imported := told_of(provenance_of(rows.completions))["imported"]:
        run.tag(imported_from=f"{imported.tool or imported.format} {imported.version}".strip())
        run.tag(**({"imported_model": imported.model} if imported.model else {}))
    run.table("problems", measured.problems, copy=not stage)
    run.table(f"completions{suffix}", measured.completions, copy=not stage)
    run.table(f"scores{suffix}", measured.scores, copy=not stage)
    if measured.policy:
        name_policy(run, measured.policy, stage)
    if stage:
        use_dataset(run, measured.problems, dataset)
    of = {} if stage else measured_on(run, measured.problems, dataset, measured.policy)
    metrics = summary_metrics(measured.summary)
    run.metrics({name + suffix: value for name, value in metrics.items()}, of=of)
    run.view(completions_view(rows.joined), f"completions_view{suffix}.json")


def name_policy(run: TrackedRun, policy: PolicyRef, stage: str = "") -> None:
    """Tag what a run samples: the policy's name and digest.

    Of a server's model the digest is no more than the server's word, and what is tagged counts at
    the gate; so its engine says it instead.
    """
    suffix = f"_{stage}" if stage else ""
    run.tag(**{f"model{suffix}": policy.name})
    if policy.engine is None:
        run.tag(**{f"model_digest{suffix}": policy.digest})
    else:
        run.tag(engine=policy.engine.words)


@dataclass(frozen=True)
class RecordedStep:
    """A step of learning, and how many steps in a row, up to it, could teach nothing."""

    row: TrainingRow
    without_signal: int


def name_newest_step(run: TrackedRun, step: TableRef) -> None:
    """Name the table that leads back to all steps so far, should the run be cut off."""
    run.tag(**{NEWEST_STEP: step.digest})


def record_step(
    run: TrackedRun, config: LearningConfig, newest: TableRef, wall_seconds: float
) -> RecordedStep:
    """Log the newest step's row as metrics at its step, with its wall time."""
    rows = run.archive.steps.rows(newest)
    numbers = {f"step.{name}": value for name, value in rows[-1].numbers().items()}
    grouped = config.learning.baseline in GROUP_BASELINES
    without_signal = steps_without_signal(rows, grouped=grouped)
    numbers["step.steps_without_signal"] = float(without_signal)
    numbers["step.wall_seconds"] = wall_seconds
    run.metrics(numbers, step=rows[-1].step)
    return RecordedStep(rows[-1], without_signal)


def record_dev(run: TrackedRun, seen: StepRate) -> str:
    """Log a pass rate on dev with its interval at its step; returns it in words."""
    rate = seen.rate
    run.metrics(
        {
            "dev_pass_rate": rate.value,
            "dev_pass_rate_low": rate.low,
            "dev_pass_rate_high": rate.high,
        },
        step=seen.step,
    )
    return (
        f"step {seen.step}: pass@1 on {DEV} {percent(rate.value)} (95 % interval "
        f"{percent(rate.low)} to {percent(rate.high)}, n = {rate.problems} problems)"
    )


def record_stop(run: TrackedRun, stop: StoppedError, training: TableRef | None) -> StoppedError:
    """Keep the training table up to the last good policy, and no later weights.

    Returns the error with what is left.
    """
    discard_model(run)
    if training is not None:
        record_training(run, training)
    run.tag(stopped_at_step=str(stop.step), last_good_step=str(stop.last_good))
    kept = "the last good policy is the one it started from"
    if stop.last_good:
        folder = checkpoint_folder(run.archive.data_dir, run.run_id, stop.last_good)
        kept = f"the last good policy, after step {stop.last_good}, is kept in {folder}"
    return stop.having(f"{kept}; no version was registered; {stop.remedy}")


def record_evaluation(run: TrackedRun, config: EvalConfig, rows: MeasuredRows) -> EvalResult:
    """The result of loop A, with the picture of pass@k where problems have several samples."""
    summary = rows.measured.summary
    pictures = _pass_at_k_picture(run, summary) if summary.samples > 1 else {}
    result = EvalResult(
        **_head(run, rows),
        **dict(Rates.of(summary)),
        model=_model(run, rows.measured.policy),
        config=config,
        pictures=pictures,
    )
    return _keep(run, result)


def record_selection(
    run: TrackedRun, config: SelectionConfig, rows: MeasuredRows, selection: Selection
) -> SelectionResult:
    """The result of loop B, with the picture of pass@k."""
    run.table("selections", selection.picks)
    for s in selection.rates:
        run.metrics(
            {
                f"selected_pass_rate.{s.rule}": s.rate.value,
                f"selected_pass_rate_low.{s.rule}": s.rate.low,
                f"selected_pass_rate_high.{s.rule}": s.rate.high,
            }
        )
    run.metrics({"best_of_n_divergence_nats": selection.divergence_nats.value})
    summary = rows.measured.summary
    rates = Rates.of(summary)
    metrics = SelectionMetrics(
        **dict(rates.metrics),
        pass_at_1=summary.pass_rate.value,
        selected_pass_rate={s.rule: s.rate.value for s in selection.rates},
    )
    result = SelectionResult(
        **_head(run, rows),
        **dict(rates) | {"metrics": metrics},
        model=_model(run, rows.measured.policy),
        config=config,
        selected={s.rule: s for s in selection.rates},
        best_of_n=BestOfN(
            samples=summary.samples,
            divergence_nats=selection.divergence_nats,
            bound_nats=selection.divergence_bound_nats,
        ),
        pictures=_pass_at_k_picture(run, summary),
    )
    return _keep(run, result)


def record_training(run: TrackedRun, training: TableRef) -> None:
    """Keep what was learned from, before anything is registered that was made of it."""
    run.table("training", training)


def record_learning(
    run: TrackedRun,
    config: LearningConfig,
    learned: Learned,
    after: MeasuredRows,
    version: PolicyRef,
) -> LearningResult:
    """The result of loop C, with the learning picture; the model version is in it by name."""
    run.metrics({"kl_nats": learned.kl_nats.value, "wall_seconds": learned.wall_seconds})
    run.tag(registered=version.name)
    ended_by: EndedBy = "time" if learned.training.rows < config.steps else "steps"
    run.tag(ended_by=ended_by)
    if ended_by == "time":
        run.tag(steps_made=f"{learned.training.rows} of {config.steps} steps")
    before, summary = learned.before.summary, learned.after.summary
    steps = run.archive.store.read(learned.training)
    pictures = _keep_picture(
        run,
        "learning.png",
        lambda path: learning_picture(path, config, steps, learned.dev, before, summary),
    )
    model = LearnedModel(
        name=version.name,
        digest=version.digest,
        folder=str(model_folder(run.archive.tracking, run.reference)),
        started_from=learned.before.policy.name if learned.before.policy else None,
    )
    metrics = LearningMetrics(
        pass_rate_before=before.pass_rate.value,
        pass_rate_after=summary.pass_rate.value,
        kl_nats=learned.kl_nats.value,
        steps=learned.training.rows,
        wall_seconds=learned.wall_seconds,
        seconds_per_step=learned.seconds_per_step,
        problems=summary.pass_rate.problems,
        completions=summary.pass_rate.completions,
        clipped_steps=clipped_steps(training_rows(steps)),
    )
    scores = (run.archive.store.read(learned.before.scores), after.scores)
    gain = compare_paired(*map(correct_counts, scores)).difference
    result = LearningResult(
        **_head(run, after),
        model=model,
        metrics=metrics,
        config=config,
        ended_by=ended_by,
        kl_nats=learned.kl_nats,
        gain=PairedDifference.model_validate(gain),
        dev=tuple(DevRate(**dict(seen.rate), step=seen.step) for seen in learned.dev),
        before=Rates.of(before),
        after=Rates.of(summary),
        outcomes_before=before.outcomes,
        pictures=pictures,
    )
    return _keep(run, result)


def summary_metrics(summary: Summary) -> dict[str, float]:
    """A summary as flat metric names."""
    rate = summary.pass_rate
    flat = {
        "pass_rate": rate.value,
        "pass_rate_low": rate.low,
        "pass_rate_high": rate.high,
        "valid_format_rate": summary.valid_format_rate.value,
        "mean_reward": summary.mean_reward.value,
        "best_constant_rate": summary.best_constant.rate,
        "problems": rate.problems,
        "completions": rate.completions,
    }
    flat |= {f"pass_at_{k}": r.value for k, r in summary.pass_at_k.items()}
    flat |= {f"outcome.{name}": count for name, count in summary.outcomes.items()}
    return flat | {
        f"family.{metric_part(name)}.pass_rate": r.value for name, r in summary.families.items()
    }


def metric_part(text: str) -> str:
    """Any text as a part of a metric's name: what MLflow refuses becomes `_`, and a digest follows.

    The digest keeps texts apart that would become the same; plain names stay as they are.
    """
    plain = re.sub(r"[^A-Za-z0-9_ -]", "_", text)[:60]
    return plain if plain == text else f"{plain}-{digest_of(text)[:6]}"


def add_to_result(run: TrackedRun, result: R, **more: Any) -> R:
    """The result with what was found after its run had ended, kept with the run too."""
    whole = result.model_copy(update=more)
    run.record(RESULT_FILE, whole)
    return whole


def _head(run: TrackedRun, rows: MeasuredRows) -> dict[str, Any]:
    """The arguments that the results of all loops share."""
    measured = rows.measured
    return {
        "run_id": run.run_id,
        "loop_name": run.loop.name,
        "changed": run.loop.changed,
        "instrument": InstrumentRecord.of(measured.instrument),
        "outcomes": measured.summary.outcomes,
        "failures": failure_groups(rows.joined),
        "tables": {name: str(run.archive.store.path(kept)) for name, kept in run.tables.items()},
        "samples": measured.summary.samples,
        **told_of(provenance_of(rows.completions)),
        "engine": _asked_engine(rows),
    }


def _asked_engine(rows: MeasuredRows) -> EngineRecord | None:
    """The engine of completions that a server made; this process is not worth a line."""
    engine = engine_of(provenance_of(rows.completions))
    return engine if engine and engine.kind != "in_process" else None


def _model(run: TrackedRun, policy: PolicyRef | None) -> ModelRecord:
    if policy is None:
        return REPLAYED
    if policy.engine is not None:
        known = policy.engine.model_digest != NOT_KNOWN
        return ModelRecord(name=policy.name, digest=policy.digest if known else None, folder=None)
    folder = str(run.archive.folders.find(policy))
    return ModelRecord(name=policy.name, digest=policy.digest, folder=folder)


def _pass_at_k_picture(run: TrackedRun, summary: Summary) -> dict[str, str]:
    return _keep_picture(run, "pass_at_k.png", lambda path: pass_at_k_picture(path, {"": summary}))


def _keep_picture(run: TrackedRun, name: str, draw: Callable[[Path], None]) -> dict[str, str]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        draw(path)
        run.file(path, "pictures")
    return {name: str(run.artifact_folder("pictures") / name)}


def _keep(run: TrackedRun, result: R) -> R:
    run.describe(describe_result(result))
    run.record(RESULT_FILE, result)  # before its report, which it must not depend on
    return add_to_result(run, result, report=keep_report(run, result, run.tables))
