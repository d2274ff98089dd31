"""Which of the recorded runs are listed, in which order, and which failures they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.report.views import joined
from artifacts.store.tables import Store
from artifacts.tracking.history import POLICIES, RunRecord
from schemas.errors import InputError
from schemas.loops import AFTER, LEARNING
from schemas.outputs import SharedFailure
from schemas.result_parts import CompletionRow, ShownRow

SORTS: dict[str, Callable[[RunRecord], Any]] = {
    "started": lambda run: -run.started_ms,
    "pass_rate": lambda run: (run_rate(run) is None, -(run_rate(run) or 0.0)),
    "loop": lambda run: run.loop.letter,
    "model": lambda run: run_model(run),
    "instrument": lambda run: run.tags.get("instrument", ""),
}


@dataclass(frozen=True)
class RowGroup:
    """The completions of a run with one outcome and code: how many there are, and some of them."""

    outcome: str
    code: str
    completions: int
    rows: tuple[ShownRow, ...]


def listed(
    runs: Sequence[RunRecord],
    *,
    loop: str | None = None,
    model: str | None = None,
    instrument: str | None = None,
    sort: str = "started",
) -> list[RunRecord]:
    """The runs of one loop, of a model, on an instrument; newest first, or as `sort` says.

    `model` is part of a model's name or the start of its digest, `instrument` the start of a
    digest. Runs that `sort` holds equal stay newest first; by pass rate the highest come first.
    """
    kept = [
        run
        for run in runs
        if loop in (None, run.loop.letter)
        and (model is None or _is_of(run, model))
        and (instrument is None or run.tags.get("instrument", "").startswith(instrument))
    ]
    return sorted(sorted(kept, key=SORTS["started"]), key=SORTS[sort])


def in_families(runs: Sequence[RunRecord]) -> list[tuple[int, RunRecord]]:
    """Each run with its depth, under the one among them that it is a child of.

    Those without such a parent keep their order; children come oldest first.
    """
    names = {run.run_id for run in runs}
    children: dict[str, list[RunRecord]] = {}
    for run in runs:
        children.setdefault(run.parent if run.parent in names else "", []).append(run)

    def below(parent: str, depth: int) -> list[tuple[int, RunRecord]]:
        found = children.get(parent, [])
        ordered = sorted(found, key=lambda run: run.started_ms) if depth else found
        return [line for run in ordered for line in ((depth, run), *below(run.run_id, depth + 1))]

    return below("", 0)


def run_rate(run: RunRecord) -> float | None:
    """pass@1 of a run, of a learning run after it."""
    return run.metrics.get("pass_rate_after", run.metrics.get("pass_rate"))


def run_interval(run: RunRecord) -> tuple[float, float] | None:
    """The 95 % interval of `run_rate`."""
    for suffix in ("_after", ""):
        ends = [run.metrics.get(f"pass_rate_{end}{suffix}") for end in ("low", "high")]
        if ends[0] is not None and ends[1] is not None:
            return ends[0], ends[1]
    return None


def run_model(run: RunRecord) -> str:
    """What a run measured, or made; what it was asked to measure, if it did not get so far."""
    made = run.tags.get("registered") or run.tags.get("model") or run.tags.get("model_before")
    if made is None and run_source(run):
        return "stored completions"
    return made or run.parameters.get("model", "")


def run_source(run: RunRecord) -> str | None:
    """What a replay scored again: a run, a table or a file; None for a run that sampled."""
    source = run.parameters.get("completions", "null")
    return None if source == "null" else source


def failures_by_code(store: Store, runs: Sequence[RunRecord]) -> tuple[SharedFailure, ...]:
    """The failures of several runs together, the most frequent code first.

    Learning runs count with what they measured after. Runs without scores are left out. Scores that
    several runs share, such as a run and its replay, count once, with the first of these runs.
    """
    owners = {_judged(run): run.run_id for run in sorted(runs, key=lambda run: -run.started_ms)}
    counts: dict[tuple[str, str], Counter[str]] = {}
    examples: dict[tuple[str, str], CompletionRow] = {}
    for run in runs:
        table = run_rows(store, run) if owners[_judged(run)] == run.run_id else None
        if table is None:
            continue
        failed = table.filter(pc.not_equal(table["outcome"], "correct"))
        grouped = failed.group_by(["outcome", "code"]).aggregate([([], "count_all")])
        for group in grouped.to_pylist():
            kind = (group["outcome"], group["code"])
            counts.setdefault(kind, Counter())[run.name] = group["count_all"]
            if kind not in examples:
                mask = pc.and_(*(pc.equal(failed[c], v) for c, v in zip(KIND, kind, strict=True)))
                first = failed.filter(mask).slice(0, 1).to_pylist()[0]
                examples[kind] = CompletionRow.model_validate(first)
    return tuple(
        SharedFailure(
            outcome=kind[0],
            code=kind[1],
            completions=of_run.total(),
            runs=tuple(name for name, _ in of_run.most_common()),
            example=examples[kind],
        )
        for kind, of_run in sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    )


KIND = ("outcome", "code")


def run_rows(store: Store, run: RunRecord) -> pa.Table | None:
    """Every completion of a run beside its problem and score, or None where it has no scores."""
    names, kept = _judged_tables(run), run.table_refs()
    if not all(name in kept for name in names):
        return None
    problems, completions, scores = (store.read(store.lookup(*kept[name])) for name in names)
    return joined(problems, completions, scores)


def _judged_tables(run: RunRecord) -> tuple[str, str, str]:
    suffix = f"_{AFTER}" if run.loop is LEARNING else ""
    return "problems", f"completions{suffix}", f"scores{suffix}"


def _judged(run: RunRecord) -> tuple[object, ...]:
    """What the scores of a run are about: its tables, or itself where one is missing."""
    kept = run.table_refs()
    tables = tuple(kept.get(name) for name in _judged_tables(run))
    return tables if all(tables) else (run.run_id,)


def choose_rows(
    rows: pa.Table,
    *,
    run_name: str,
    per_code: int,
    code: str | None = None,
    family: str | None = None,
    surest_first: bool = False,
) -> tuple[RowGroup, ...]:
    """Some of a run's rows by outcome and code, the most frequent code first.

    `rows` is what `run_rows` returns. Of each group the first `per_code` different answers are
    chosen, those of the highest log-probability first if `surest_first`. Raises InputError for a
    code or a family that no row has.
    """
    for name, wanted in (("code", code), ("family", family)):
        if wanted is None:
            continue
        known = sorted(set(rows[name].to_pylist()) - {None})
        if wanted not in known:
            raise InputError(
                f"no completion of run {run_name} has it",
                f"--{name} {wanted}",
                f"use {', '.join(known)}" if known else f"leave --{name} out",
            )
        rows = rows.filter(pc.equal(rows[name], wanted))
    if surest_first:
        rows = rows.take(pc.sort_indices(rows, sort_keys=[("sum_logprob", "descending")]))
    # for each outcome and code: how often each text answers each problem, and its first row
    answers: dict[tuple[str, str], dict[tuple[str, str], list[int]]] = {}
    columns = (rows[name].to_pylist() for name in (*KIND, "problem", "completion"))
    for place, (outcome, kind, problem, text) in enumerate(zip(*columns, strict=True)):
        group = answers.setdefault((outcome, kind), {})
        group.setdefault((problem, text), [place, 0])[1] += 1
    groups = [
        RowGroup(
            outcome,
            kind,
            sum(times for _, times in group.values()),
            tuple(
                ShownRow(**rows.slice(place, 1).to_pylist()[0], times=times)
                for place, times in list(group.values())[:per_code]
            ),
        )
        for (outcome, kind), group in answers.items()
    ]
    return tuple(sorted(groups, key=lambda group: -group.completions))


def _is_of(run: RunRecord, model: str) -> bool:
    names = (run.tags.get(tag, "") for tag in ("registered", "model", "model_before"))
    digests = (run.tags.get(tag, "") for tag in POLICIES)
    return any(model in name for name in names) or any(d.startswith(model) for d in digests)
