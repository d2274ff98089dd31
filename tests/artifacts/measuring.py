"""Measurements made by hand, and runs that keep them, for tests that need no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from artifacts.recording.measured_rows import MeasuredRows
from artifacts.recording.record import record_measurement
from artifacts.store.instrument import instrument_of
from artifacts.store.parquet_table import provenance_of
from artifacts.store.steps import Steps
from artifacts.store.steps import training_table as training_rows_table
from artifacts.store.tables import Store
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from artifacts.tracking.run import Place, tracked_run
from schemas.completions import COMPLETIONS
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.loops import AFTER, BEFORE, EVALUATION, LEARNING, SELECTION
from schemas.measurements import Measurement
from schemas.problems import expected_answers
from schemas.references import PolicyRef, TableRef
from schemas.steps import STEP
from schemas.training import TRAINING, TrainingRow
from scorers.registry import get_scorer
from scorers.statistics.summary import summarize

SAMPLING = '{"temperature":1.0}'


def problems_table(count: int, *, split: str = "holdout", first: int = 0) -> pa.Table:
    """Problem i asks `i + 1?`; those of even i are of the family `even`, the others have none."""
    numbers = range(first, first + count)
    return pa.table(
        {
            "problem_id": [f"p{i}" for i in numbers],
            "prompt": [f"{i} + 1?" for i in numbers],
            "expected_answer": [str(i + 1) for i in numbers],
            "family": pa.array(["even" if i % 2 == 0 else None for i in numbers], pa.string()),
            "split": [split] * count,
        }
    )


def completions_table(problems: pa.Table, answers: Sequence[str]) -> pa.Table:
    """One letter an answer: r is right, w another integer, b without its format, c cut off."""
    rows = []
    for problem, letters in zip(problems.to_pylist(), answers, strict=True):
        expected = int(problem["expected_answer"])
        texts = {
            "r": f"Final: {expected}",
            "w": f"Final: {expected + 1}",
            "b": f"<b>{expected}",
            "c": "Final: ",
        }
        rows += [
            {
                "problem_id": problem["problem_id"],
                "sample_index": index,
                "text": texts[letter],
                "finish_reason": "length" if letter == "c" else "stop",
                "token_count": 3,
                "sum_logprob": -1.0 - index,
            }
            for index, letter in enumerate(letters)
        ]
    return pa.Table.from_pylist(rows, schema=COMPLETIONS.arrow)


def measure(
    store: Store,
    *answers: str,
    policy: PolicyRef | None = None,
    split: str = "holdout",
    first: int = 0,
    **config: str,
) -> Measurement:
    """Problems from `first` on with these answers (`completions_table`), stored and scored.

    `config` replaces parts of the instrument: `template`, `sampling`, `scorer`; or is a `seed`, or
    the `request` that a server got.
    """
    rows = problems_table(len(answers), split=split, first=first)
    problems = store.write("problems", rows, producer="test")
    completions = store.write(
        "completions",
        completions_table(rows, answers),
        producer="test",
        parents={"problems": problems.digest},
        config={
            "template": config.get("template", "plain@1:t"),
            "sampling": config.get("sampling", SAMPLING),
            "policy": policy.digest if policy else "external",
        }
        | ({"seed": int(config["seed"])} if "seed" in config else {})
        | ({"request": config["request"]} if "request" in config else {}),
    )
    scores = scored(store, problems, completions, config.get("scorer", "final_int@1"))
    return measurement(store, problems, completions, scores, policy)


def scored(store: Store, problems: TableRef, completions: TableRef, scorer: str) -> TableRef:
    """Stored scores of completions."""
    rows, chosen = store.read(completions), get_scorer(scorer)
    expected = expected_answers(store.read(problems), rows["problem_id"])
    verdicts = chosen.score(rows["text"], rows["finish_reason"], expected)
    keys = {name: rows[name] for name in ("problem_id", "sample_index")}
    return store.write(
        "scores",
        pa.table(keys | {name: verdicts[name] for name in verdicts.column_names}),
        producer="test",
        parents={"problems": problems.digest, "completions": completions.digest},
        config={"scorer": chosen.id, "spec": chosen.spec_digest},
    )


def measurement(
    store: Store,
    problems: TableRef,
    completions: TableRef,
    scores: TableRef,
    policy: PolicyRef | None,
) -> Measurement:
    """The measurement that these tables are."""
    rows, verdicts = store.read(problems), store.read(scores)
    return Measurement(
        policy=policy,
        problems=problems,
        completions=completions,
        scores=scores,
        instrument=instrument_of(rows, store.read(completions), provenance_of(verdicts).scorer),
        summary=summarize(rows, verdicts),
    )


def policy_in(archive: Archive, folder: Path, weights: str = "weights") -> PolicyRef:
    """A policy that cannot be loaded: a folder of this name with a file of weights."""
    folder.mkdir()
    (folder / "model.safetensors").write_text(weights)
    return PolicyRef(name=str(folder), digest=archive.folders.digest(folder))


def evaluated(archive: Archive, measured: Measurement, **config: Any) -> RunRecord:
    """A finished run of loop A that keeps a measurement, set as its completions say."""
    made = provenance_of(archive.store.read(measured.completions)).config
    config = {"samples": measured.summary.samples, "seed": made.get("seed", 0)} | config
    settings = EvalConfig(**config)
    with tracked_run(archive, EVALUATION, settings, Place()) as run:
        record_measurement(run, MeasuredRows.read(archive.store, measured), "sums")
    return archive.history.find(run.run_id)


def selected(archive: Archive, measured: Measurement, picks: TableRef) -> RunRecord:
    """A finished run of loop B that keeps a measurement and what was picked of it."""
    settings = SelectionConfig(samples=measured.summary.samples)
    with tracked_run(archive, SELECTION, settings, Place()) as run:
        record_measurement(run, MeasuredRows.read(archive.store, measured), "sums")
        run.table("selections", picks)
    return archive.history.find(run.run_id)


def learned(
    archive: Archive, before: Measurement, after: Measurement, training: TableRef
) -> RunRecord:
    """A finished run of loop C that keeps both measurements and its training table."""
    with tracked_run(archive, LEARNING, LearningConfig(steps=training.rows), Place()) as run:
        for stage, measured in ((BEFORE, before), (AFTER, after)):
            rows = MeasuredRows.read(archive.store, measured)
            record_measurement(run, rows, "sums", stage)
        run.table("training", training)
    return archive.history.find(run.run_id)


def training_table(store: Store, *steps: Measurement) -> TableRef:
    """A training table as an earlier version left it, whose steps learned from these."""
    rows = [training_row(step, measured) for step, measured in enumerate(steps, start=1)]
    table = pa.Table.from_pylist([row.model_dump() for row in rows], schema=TRAINING.arrow)
    return store.write("training", table, producer="test")


def step_table(
    store: Store, step: int, measured: Measurement, before: TableRef | None = None
) -> TableRef:
    """The table of a step that learned from a measurement, after that of the step before."""
    completions, scores = store.read(measured.completions), store.read(measured.scores)
    rows = [
        {
            **completion,
            **score,
            "shard_seed": 1,
            "token_ids": [5, 6, 7],
            "logprobs": [-0.5, -0.25, -0.25],
            "baseline": 0.5,
            "advantage": score["reward"] - 0.5,
            "kl_penalty_nats": 0.0,
            "sum_logprob_before": completion["sum_logprob"],
            "sum_logprob_after": None,
            "sum_logprob_reference": completion["sum_logprob"],
        }
        for completion, score in zip(completions.to_pylist(), scores.to_pylist(), strict=True)
    ]
    return Steps(store).write(
        pa.Table.from_pylist(rows, schema=STEP.arrow),
        training_row(step, measured),
        before=before,
        parents={"problems": measured.problems.digest},
        config={"numerics": f"thread {step}"},
    )


def step_tables(store: Store, *steps: Measurement) -> list[TableRef]:
    """The tables of the steps that learned from these measurements, one after another."""
    made: list[TableRef] = []
    for step, measured in enumerate(steps, start=1):
        made.append(step_table(store, step, measured, made[-1] if made else None))
    return made


def collected(store: Store, newest: TableRef) -> TableRef:
    """The training table of a run, collected from the tables of its steps."""
    rows = training_rows_table(Steps(store).rows(newest))
    return store.write("training", rows, producer="test", parents={"step": newest.digest})


def training_row(step: int, measured: Measurement) -> TrainingRow:
    """The row of a step that learned from a measurement."""
    return TrainingRow(
        step=step,
        problems=measured.problems.rows,
        completions=measured.completions.rows,
        tokens=3 * measured.completions.rows,
        passes=1,
        reward_mean=measured.summary.mean_reward.value,
        advantage_std=0.5,
        valid_format_rate=measured.summary.valid_format_rate.value,
        groups_with_signal=1,
        loss=0.25,
        kl_nats=0.125,
        kl_error_nats=0.125,
        kl_nats_k3=0.25,
        entropy_nats_per_token=1.5,
        gradient_norm=2.0,
        clipped=True,
        sampling_gap_nats=0.0,
        learning_rate=0.5,
        completions_digest=measured.completions.digest,
        scores_digest=measured.scores.digest,
        policy_lineage=f"{step:064x}",
    )
