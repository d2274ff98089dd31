"""Stored completions under another scorer, and a scorer under golden rows: what is different."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.datasets.files import AS_NAMED
from artifacts.datasets.problems import Datasets
from artifacts.datasets.rows import IntegerText, jsonl_objects
from artifacts.report.write import keep_report
from artifacts.runs.measured import stored_table
from artifacts.runs.replay import RUN_TABLES
from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import Store
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from artifacts.tracking.run import TrackedRun
from schemas.config import Columns
from schemas.errors import InputError
from schemas.files import is_file, source_of
from schemas.finish_reasons import FINISH_REASONS
from schemas.outputs import GoldenMiss, GoldenResult
from schemas.references import TableRef
from schemas.result_parts import ChangedVerdict, ScorerChange, VerdictGroup
from schemas.results import EvalResult
from scorers.golden import GoldenRow, Miss, check_golden, golden_rows
from scorers.registry import get_scorer
from scorers.statistics.changes import ChangedRow, ScoreChanges, compare_scores

CHANGES_FILE = "changes.json"


def scores_before(archive: Archive, source: str) -> TableRef | None:
    """The scores that a run gave to the completions that a replay of it takes, found unchanged.

    None for a file of completions, which has no scores. StoreError where the table was changed.
    """
    if source_of(source) != "run":
        return None
    reference = _own_scores(archive, archive.history.find(source))
    archive.store.read(reference)
    return reference


def keep_changes(archive: Archive, run: RunRecord, result: EvalResult, before: TableRef) -> None:
    """Keep what changed with the run that scored again, and show it in its report.

    `result` is that run's, with `changes`; `before` are the scores that its completions had.
    """
    assert result.changes is not None  # that is what is kept
    kept = TrackedRun(run.run_id, run.name, run.loop, archive)
    kept.record(CHANGES_FILE, result.changes)
    tables = {
        name: stored_table(archive.store, run, name)
        for name in ("problems", "completions", "scores")
    }
    keep_report(kept, result, tables, changes=result.changes, scores_before=before)


def _own_scores(archive: Archive, run: RunRecord) -> TableRef:
    kept = run.table_refs()
    replayed = next((name for name in RUN_TABLES if name in kept), "completions")
    name = replayed.replace("completions", "scores")
    if name not in kept:
        raise InputError("the run has no scores", f"run {run.name}", "name one that finished")
    return archive.store.lookup("scores", kept[name][1])


@dataclass(frozen=True)
class ScoredTwice:
    """Completions with the scores of two scorers; `scored_before` says that the first are stored.

    The first table may score more completions, as a run does that was rescored with a limit.
    """

    before: TableRef
    after: TableRef
    completions: TableRef
    problems: TableRef
    scored_before: bool = True


def score_changes(store: Store, scored: ScoredTwice, *, rows: int) -> ScorerChange:
    """What the second scorer says differently: a 2 × 2, and groups of changed rows.

    Each group names `rows` of its completions, with prompt, text and expected answer.
    """
    first, second = store.read(scored.before), store.read(scored.after)
    changes = compare_scores(_scored_by_both(first, second), second)
    problems, completions = store.read(scored.problems), store.read(scored.completions)
    texts = _texts(problems, completions, _shown(changes, rows))
    return ScorerChange(
        before=provenance_of(first).setting("scorer"),
        after=provenance_of(second).setting("scorer"),
        scored_before=scored.scored_before,
        rows=changes.rows,
        correct_in_both=changes.correct_in_both,
        correct_only_before=changes.correct_only_before,
        correct_only_after=changes.correct_only_after,
        correct_in_neither=changes.correct_in_neither,
        groups=tuple(
            VerdictGroup(
                direction=group.direction,
                codes=group.codes,
                count=group.count,
                rows=tuple(
                    ChangedVerdict(
                        problem_id=row.problem_id,
                        sample_index=row.sample_index,
                        reward=row.reward,
                        outcome=row.outcome,
                        **texts[row.problem_id, row.sample_index],
                    )
                    for row in group.first(rows)
                ),
            )
            for group in changes.groups
        ),
    )


def golden_check(
    datasets: Datasets, path: str, dataset: str, scorer: str, columns: Columns = AS_NAMED
) -> GoldenResult:
    """A scorer against a JSONL file of golden rows, whose ids are problems of the dataset.

    Raises InputError, naming the line, for a row that cannot be used, and for a file without rows.
    """
    if not is_file(Path(path)):
        raise InputError("no such file", f"--golden {path}")
    expected = datasets.expected_answers(dataset, columns)
    lines: list[int] = []
    rows: list[GoldenRow] = []
    for line, record in jsonl_objects(Path(path)):
        where = f"{path}, row {line}"
        try:
            rows += golden_rows([_plain(record)], expected)
        except InputError as error:
            raise InputError(error.what, where, error.remedy) from None
        if rows[-1].finish_reason not in FINISH_REASONS:
            raise InputError(
                f"its finish_reason is {rows[-1].finish_reason!r}", where, "write stop or length"
            )
        lines.append(line)
    if not rows:
        raise InputError("has no rows", f"--golden {path}", "a check of nothing would pass")
    report = check_golden(get_scorer(scorer), rows)
    return GoldenResult(
        golden=path,
        dataset=dataset,
        scorer=report.scorer,
        rows=report.rows,
        passed=report.passed,
        false_positives=_misses(report.false_positives, lines),
        false_negatives=_misses(report.false_negatives, lines),
    )


def _misses(misses: Iterable[Miss], lines: Sequence[int]) -> tuple[GoldenMiss, ...]:
    return tuple(
        GoldenMiss(
            **asdict(miss.row),
            row=lines[miss.place],
            reward=miss.reward,
            outcome=miss.outcome,
            code=miss.code,
        )
        for miss in misses
    )


def _plain(record: Mapping[str, Any]) -> dict[str, Any]:
    """A golden row with numbers as numbers again, an id as text, and text that Arrow can hold."""
    plain: dict[str, Any] = {}
    for name, value in record.items():
        if name == "id":
            plain[name] = str(value)
        elif isinstance(value, IntegerText):
            plain[name] = int(value) if len(value) < 20 else float("inf")
        elif isinstance(value, str):
            # half a surrogate pair is kept as its escape, as in completions that are brought in
            plain[name] = value.encode("utf-8", "backslashreplace").decode("utf-8")
        else:
            plain[name] = value
    return plain


def _scored_by_both(longer: pa.Table, shorter: pa.Table) -> pa.Table:
    """The rows of the longer table that the shorter one has too."""
    if longer.num_rows == shorter.num_rows:
        return longer
    keys = ["problem_id", "sample_index"]
    return longer.join(shorter.select(keys), keys, join_type="left semi")


def _shown(changes: ScoreChanges, rows: int) -> list[ChangedRow]:
    return [row for group in changes.groups for row in group.first(rows)]


def _texts(
    problems: pa.Table, completions: pa.Table, wanted: Iterable[ChangedRow]
) -> dict[tuple[str, int], dict[str, str]]:
    """Prompt, completion and expected answer of the rows wanted."""
    keys = {(row.problem_id, row.sample_index) for row in wanted}
    ids = pa.array(sorted({identity for identity, _ in keys}), pa.string())
    named = problems.filter(pc.is_in(problems["problem_id"], ids)).to_pylist()
    asked = {row["problem_id"]: row for row in named}
    named_completions = completions.filter(pc.is_in(completions["problem_id"], ids))
    return {
        (row["problem_id"], row["sample_index"]): {
            "prompt": asked[row["problem_id"]]["prompt"],
            "completion": row["text"],
            "expected": asked[row["problem_id"]]["expected_answer"],
        }
        for row in named_completions.select(["problem_id", "sample_index", "text"]).to_pylist()
        if (row["problem_id"], row["sample_index"]) in keys
    }
