"""From measurements to what is kept and shown: metrics, tables, pictures and one result object.

A result is what a command prints with `--json`; its keys are a contract with its readers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from artifacts.report.learning_picture import learning_picture
from artifacts.report.pictures import pass_at_k_picture
from artifacts.report.views import completions_view, failure_groups
from artifacts.report.write import keep_report
from artifacts.store.checkpoints import checkpoint_folder
from artifacts.store.tables import Store
from artifacts.text.describe import describe_result
from artifacts.text.numbers import percent
from artifacts.tracking.inputs import measured_on, use_dataset
from artifacts.tracking.logged_models import discard_model
from artifacts.tracking.run import RESULT_FILE, RESULT_FORMAT, TrackedRun
from schemas.config import DEV, GROUP_BASELINES, EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import StoppedError
from schemas.identity import digest_of
from schemas.references import PolicyRef, TableRef
from schemas.measurements import Estimate, Measurement, Selection, StepRate, Summary
from schemas.training import steps_without_signal

Result = dict[str, Any]


def record_measurement(
    run: TrackedRun, measured: Measurement, dataset: str, stage: str = ""
) -> None:
    """Keep a measurement's tables, metrics, instrument and a readable table with the run.

    `dataset` names its problems. `stage` (`before`, `after`) goes into the names where a run
    measures more than once; the stages' own runs tie their metrics to model and dataset.
    """
    suffix = f"_{stage}" if stage else ""
    run.instrument(measured.instrument)
    run.table("problems", measured.problems)
    run.table(f"completions{suffix}", measured.completions)
    run.table(f"scores{suffix}", measured.scores)
    if measured.policy:
        run.tag(**{f"model{suffix}": measured.policy.name})
        run.tag(**{f"model_digest{suffix}": measured.policy.digest})
    summary = measured.summary
    if stage:
        use_dataset(run, measured.problems, dataset)
    of = {} if stage else measured_on(run, measured.problems, dataset, measured.policy)
    run.metrics({name + suffix: value for name, value in summary_metrics(summary).items()}, of=of)
    run.view(completions_view(*_tables(measured)), f"completions_view{suffix}.json")


def record_step(run: TrackedRun, config: LearningConfig, training: TableRef) -> dict[str, Any]:
    """Log the newest row of the training table as metrics at its step, with its wall time.

    Returns the row, and how many steps have passed since the rewards could last teach something.
    """
    table = Store().read(training)
    row: dict[str, Any] = table.slice(training.rows - 1, 1).to_pylist()[0]
    grouped = config.learning.baseline in GROUP_BASELINES
    row["steps_without_signal"] = steps_without_signal(table, grouped=grouped)
    step = row["step"]
    numbers = {f"step.{name}": v for name, v in row.items() if isinstance(v, int | float)}
    run.metrics(numbers | {"step.wall_seconds": run.lap()}, step=step)
    return row


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
        run.table("training", training)
    run.tag(stopped_at_step=str(stop.step), last_good_step=str(stop.last_good))
    kept = "the last good policy is the one it started from"
    if stop.last_good:
        folder = checkpoint_folder(run.data_dir, run.run_id, stop.last_good)
        kept = f"the last good policy, after step {stop.last_good}, is kept in {folder}"
    return stop.having(f"{kept}; no version was registered; {stop.remedy}")


def record_evaluation(run: TrackedRun, config: EvalConfig, measured: Measurement) -> Result:
    """The result of loop A, with the picture of pass@k where problems have several samples."""
    result = _result(run, measured, config) | _rates(measured.summary)
    if measured.summary.samples > 1:
        result["pictures"] = _pass_at_k_picture(run, measured)
    return _finish(run, result)


def record_selection(
    run: TrackedRun,
    config: SelectionConfig,
    measured: Measurement,
    selection: Selection,
) -> Result:
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
    result = _result(run, measured, config) | _rates(measured.summary)
    result["metrics"]["pass_at_1"] = measured.summary.pass_rate.value
    result["metrics"]["selected_pass_rate"] = {s.rule: s.rate.value for s in selection.rates}
    result["selected"] = {s.rule: s.model_dump() for s in selection.rates}
    result["best_of_n"] = {
        "samples": measured.summary.samples,
        "divergence_nats": selection.divergence_nats.model_dump(),
        "bound_nats": selection.divergence_bound_nats,
    }
    result["tables"] = _paths(run)
    result["pictures"] = _pass_at_k_picture(run, measured)
    return _finish(run, result)


def record_learning(
    run: TrackedRun,
    config: LearningConfig,
    before: Measurement,
    after: Measurement,
    training: TableRef,
    dev: Sequence[StepRate],
    kl: Estimate,
    version: PolicyRef,
) -> Result:
    """The result of loop C, with the learning picture; the model version is in it by name."""
    run.table("training", training)
    wall_seconds = run.wall_seconds()
    run.metrics({"kl_nats": kl.value, "wall_seconds": wall_seconds})
    run.tag(registered=version.name)
    result = _result(run, after, config)
    result["model"] = {
        "name": version.name,
        "digest": version.digest,
        "folder": version.folder,
        "started_from": before.policy.name if before.policy else None,
    }
    result["metrics"] = {
        "pass_rate_before": before.summary.pass_rate.value,
        "pass_rate_after": after.summary.pass_rate.value,
        "kl_nats": kl.value,
        "steps": training.rows,
        "wall_seconds": wall_seconds,
        "seconds_per_step": sum(run.laps) / len(run.laps) if run.laps else None,
        "problems": after.summary.pass_rate.problems,
        "completions": after.summary.pass_rate.completions,
    }
    result["kl_nats"] = kl.model_dump()
    result["dev"] = [seen.rate.model_dump() | {"step": seen.step} for seen in dev]
    result["before"] = _rates(before.summary)
    result["after"] = _rates(after.summary)
    result["outcomes_before"] = dict(before.summary.outcomes)
    rows = Store().read(training).to_pylist()
    result["pictures"] = _keep_picture(
        run,
        "learning.png",
        lambda path: learning_picture(path, config, rows, dev, before.summary, after.summary),
    )
    return _finish(run, result)


def summary_metrics(summary: Summary) -> dict[str, float]:
    """A summary as flat metric names."""
    rate = summary.pass_rate
    flat = {
        "pass_rate": rate.value,
        "pass_rate_low": rate.low,
        "pass_rate_high": rate.high,
        "valid_format_rate": summary.valid_format_rate.value,
        "mean_reward": summary.mean_reward.value,
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


def _rates(summary: Summary) -> Result:
    rate = summary.pass_rate
    return {
        "metrics": {
            "pass_rate": rate.value,
            "pass_rate_low": rate.low,
            "pass_rate_high": rate.high,
            "problems": rate.problems,
            "completions": rate.completions,
            "valid_format_rate": summary.valid_format_rate.value,
            "mean_reward": summary.mean_reward.value,
            "pass_at_k": {str(k): r.value for k, r in summary.pass_at_k.items()},
        },
        "intervals": {
            "pass_at_k": {str(k): [r.low, r.high] for k, r in summary.pass_at_k.items()},
            "valid_format_rate": [summary.valid_format_rate.low, summary.valid_format_rate.high],
            "mean_reward": [summary.mean_reward.low, summary.mean_reward.high],
        },
        "control": {"pass_at_k": {str(k): value for k, value in summary.control.items()}},
        "families": {name: r.model_dump() for name, r in summary.families.items()},
        "codes": dict(summary.codes),
    }


def _result(run: TrackedRun, measured: Measurement, config: EvalConfig | LearningConfig) -> Result:
    policy = measured.policy
    return {
        "run_id": run.run_id,
        "loop": run.loop.letter,
        "loop_name": run.loop.name,
        "changed": run.loop.changed,
        "instrument": measured.instrument.as_json(),
        "outcomes": dict(measured.summary.outcomes),
        "failures": failure_groups(*_tables(measured)),
        "tables": _paths(run),
        "model": policy.model_dump(include={"name", "digest", "folder"})
        if policy
        else {"name": "stored completions", "digest": None, "folder": None},
        "samples": measured.summary.samples,
        "config": config.model_dump(mode="json"),
    }


def _tables(measured: Measurement) -> tuple[pa.Table, pa.Table, pa.Table]:
    store = Store()
    return (
        store.read(measured.problems),
        store.read(measured.completions),
        store.read(measured.scores),
    )


def _paths(run: TrackedRun) -> dict[str, str]:
    return {name: reference.path for name, reference in run.tables.items()}


def _pass_at_k_picture(run: TrackedRun, measured: Measurement) -> dict[str, str]:
    return _keep_picture(
        run, "pass_at_k.png", lambda path: pass_at_k_picture(path, {"": measured.summary})
    )


def _keep_picture(run: TrackedRun, name: str, draw: Callable[[Path], None]) -> dict[str, str]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        draw(path)
        run.file(path, "pictures")
    return {name: str(run.artifact_folder("pictures") / name)}


def add_to_result(run: TrackedRun, result: Result, more: Result) -> Result:
    """The result with what was found after its run had ended, kept with the run too."""
    whole = result | more
    run.json(RESULT_FILE, whole)
    return whole


def _finish(run: TrackedRun, result: Result) -> Result:
    result |= {"report": None, "format": RESULT_FORMAT}
    run.describe(describe_result(result))
    run.json(RESULT_FILE, result)  # before its report, which it must not depend on
    result["report"] = keep_report(run, result, run.tables)
    run.json(RESULT_FILE, result)
    return result
