"""Runs and decisions: whether their process is there, and what they name."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from artifacts.doctor.dead_runs import close_dead
from artifacts.doctor.examination import SHOWN, Examination, Found, Repair
from artifacts.doctor.machine import listed
from artifacts.doctor.recorded import RecordedRun
from artifacts.doctor.set_aside import SetAside
from artifacts.doctor.snapshot import InUseError, UnreadableError
from artifacts.promotion.decisions import DECISION_FILE
from artifacts.registry.versions import CHAMPION, REGISTRY
from artifacts.store.parquet_table import provenance_in
from artifacts.store.steps import tables_of
from artifacts.store.stored_bytes import PAUSE, TRIES
from artifacts.tracking.connection import RESULT_FILE
from schemas.errors import StoreError
from schemas.results import RESULT_FORMAT, Decision
from schemas.training import TRAINING, TrainingRow

RUN_ID = re.compile("[0-9a-f]{32}")
FORMATS = (2, RESULT_FORMAT)  # of a result: those that can be read


def check_runs(at: Examination) -> Iterator[Found]:
    """Every run that was not deleted on MLflow's page."""
    if at.recorded is None:
        return
    for run in at.recorded.runs.values():
        if run.deleted:
            continue
        at.count("runs")
        yield from _check_process(at, run)
        if run.goes_on:
            continue  # its process may be writing
        yield from _check_tables(at, run)
        yield from _check_record(at, run)


def check_unlisted(at: Examination) -> Iterator[Found]:
    """Whether there are files of runs that the database does not list, nor has as deleted."""
    if at.recorded is None or at.has_server:
        return
    folders = [path for path in at.data_dir.run_artifacts.glob("*") if RUN_ID.fullmatch(path.name)]
    unlisted = [path for path in folders if path.name not in at.recorded.every_run]
    if not unlisted:
        return
    try:
        now = at.read_again()
    except (InUseError, UnreadableError):
        return
    known = now.every_run if now else frozenset()
    names = [path.name[:SHOWN] for path in unlisted if path.name not in known]  # some are new
    if names:
        count = "1 run" if len(names) == 1 else f"{len(names)} runs"
        what = f"files of {count} that it does not list: {listed(names, 3)}"
        yield at.found("unlisted-runs", at.data_dir.tracking_database, what)


def check_aliases(at: Examination) -> Iterator[Found]:
    """Whether each alias leads to a version, and the champion is the gate's."""
    if at.recorded is None:
        return
    promoted = {
        run.tags["candidate"]
        for run in at.recorded.runs.values()
        if run.is_decision and run.tags.get("decision") == "promoted"
    }
    for (model, alias), number in at.recorded.aliases.items():
        version, name = f"{REGISTRY}{model}/{number}", f"{REGISTRY}{model}@{alias}"
        if version not in at.recorded.versions:
            yield at.found("alias-to-nothing", name, f"it leads to {version}, which is not there")
        elif alias == CHAMPION and version not in promoted:
            what = f"it is {version}, which no decision promoted"
            yield at.found("champion-without-decision", name, what)


def _check_process(at: Examination, run: RecordedRun) -> Iterator[Found]:
    if run.dead:

        def close(aside: SetAside) -> str | None:
            database = at.data_dir.tracking_database
            if not database.is_file() or not close_dead(database, run.run_id):
                return None
            return "closed; it is listed as killed from now on"

        yield at.found("dead-run", f"run {run.name}", "its process is gone", Repair(close))
    elif run.status == "RUNNING" and not run.tags.get("owner"):
        yield at.found("run-without-owner", f"run {run.name}", "it is said to be running")


def _check_tables(at: Examination, run: RecordedRun) -> Iterator[Found]:
    for name, (kind, digest) in run.tables().items():
        path = at.data_dir.tables / kind / f"{digest}.parquet"
        copy = run.folder / "tables" / f"{name}.parquet"
        verdict = at.stored.verdict(copy, digest)  # before the table, which may need it
        if verdict == "differs" and not at.may_be_written(run.run_id):
            what = f"it is the copy of a table of run {run.name}, and has other bytes"
            yield at.found("changed-copy", copy, what, at.copied(copy, digest))
        if not path.exists() and not at.store.has_table(kind, digest):
            what = f"run {run.name} names it as its {name}, and it is not there"
            yield at.found("missing-table", path, what, at.copied(path, digest))
        elif kind == "training" and at.stored.verdict(path, digest) == "matches":
            yield from _check_learned_from(at, run, path)


def _check_learned_from(at: Examination, run: RecordedRun, training: Path) -> Iterator[Found]:
    """The tables of the steps of a training table; the gate reads them."""
    asked: set[str] = set()  # digests of the problems of all steps
    for row in steps_of(training):
        for kind, digest in tables_of(row):
            path = at.data_dir.tables / kind / f"{digest}.parquet"
            if not path.exists() and not at.store.has_table(kind, digest):
                what = f"step {row.step} of run {run.name} learned from it, and it is not there"
                yield at.found("missing-table", path, what, at.copied(path, digest))
            elif kind != "scores":
                asked.update(_problems_of(path))
    for digest in sorted(asked):
        yield from _check_problems(at, run, digest)


def steps_of(training: Path) -> list[TrainingRow]:
    """The rows of a training table's file; none where it cannot be read."""
    try:
        rows = TRAINING.upgrade(pq.read_table(training)).to_pylist()
        return [TrainingRow.model_validate(row) for row in rows]
    except (pa.ArrowException, OSError, ValidationError):
        return []


def _problems_of(table: Path) -> Iterator[str]:
    try:
        digest = provenance_in(table).parents.get("problems")
    except StoreError:
        return
    if digest:
        yield digest


def _check_problems(at: Examination, run: RecordedRun, digest: str) -> Iterator[Found]:
    path = at.data_dir.tables / "problems" / f"{digest}.parquet"
    if not path.exists() and not at.store.has_table("problems", digest):
        what = f"run {run.name} learned from these problems ({digest[:SHOWN]}), which are not there"
        yield at.found("missing-table", path, what, at.copied(path, digest))


def _check_record(at: Examination, run: RecordedRun) -> Iterator[Found]:
    """The result of a loop, or the record of a decision, of a run that has finished."""
    if run.status != "FINISHED":
        return
    if run.is_decision:
        yield from _check_decision(at, run)
        return
    path = run.folder / RESULT_FILE
    if not path.exists():
        yield at.found("missing-result", path, f"run {run.name} has finished and has no result")
        return
    result = object_in(path)
    if result is None:
        yield at.found("damaged-result", path, f"the result of run {run.name} is no JSON object")
    elif result.get("format") not in FORMATS:
        what = f"the result of run {run.name} has format {result.get('format')}"
        yield at.found("result-of-another-version", path, what)


def object_in(path: Path) -> dict[str, object] | None:
    """The JSON object in a file, None where it holds none; it may be written again just now."""
    for _ in range(TRIES):
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        time.sleep(PAUSE)
    return None


def _check_decision(at: Examination, run: RecordedRun) -> Iterator[Found]:
    assert at.recorded is not None  # the run is from there
    path, candidate = run.folder / DECISION_FILE, run.tags["candidate"]
    try:
        decided = Decision.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        yield at.found("damaged-decision", path, f"the record of {run.name} cannot be read")
        return
    if (decided.candidate.name, decided.decision) != (candidate, run.tags.get("decision")):
        what = f"it says {decided.decision} of {decided.candidate.name}, and MLflow says otherwise"
        yield at.found("damaged-decision", path, what)
    elif (digest := run.tags.get("record_digest")) and at.stored.verdict(path, digest) == "differs":
        what = f"the record of {run.name} is not the one that was written"
        yield at.found("damaged-decision", path, what)
    elif candidate not in at.recorded.versions:
        what = f"it is about {candidate}, which is not in the registry"
        yield at.found("decision-about-nothing", f"decision {run.name}", what)
