"""Stored completions under another scorer, and a scorer under golden rows: what came out otherwise.

It makes no scores and loads no model; `scorers.statistics.changes` and `scorers.golden` compare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.datasets import arithmetic
from artifacts.datasets.problems import IntegerText, jsonl_objects, load_problems, read_problem_file
from artifacts.report.write import keep_report
from artifacts.runs.measured import stored_table
from artifacts.runs.replay import RUN_TABLES
from artifacts.store.data_dir import current_data_dir
from artifacts.store.tables import Store, provenance_of
from artifacts.tracking.history import RunRecord, find_run
from artifacts.tracking.run import TrackedRun
from schemas.errors import InputError
from schemas.references import TableRef
from scorers.golden import GoldenReport, GoldenRow, check_golden, golden_rows
from scorers.registry import get_scorer
from scorers.statistics.changes import ChangedRow, ScoreChanges, compare_scores

Result = dict[str, Any]
CHANGES_FILE = "changes.json"


def scores_before(source: str) -> TableRef | None:
    """The scores that a run gave to the completions that a replay of it takes, found unchanged.

    None for a file of completions, which has no scores. StoreError where the table was changed.
    """
    path = Path(source)
    if path.suffix.lower() in (".jsonl", ".parquet") or path.is_file():
        return None
    reference = _own_scores(find_run(source))
    Store().read(reference)
    return reference


def keep_changes(run: RunRecord, result: Result, changes: Result, before: TableRef) -> None:
    """Keep what changed with the run that scored again, and show it in its report.

    `result` is that run's, `before` the scores that its completions had.
    """
    kept = TrackedRun(run.run_id, run.name, run.loop, current_data_dir())
    kept.json(CHANGES_FILE, changes)
    tables = {name: stored_table(run, name) for name in ("problems", "completions", "scores")}
    keep_report(kept, result, tables, changes=changes, judged_before=before)


def _own_scores(run: RunRecord) -> TableRef:
    kept = run.table_refs()
    replayed = next((name for name in RUN_TABLES if name in kept), "completions")
    name = replayed.replace("completions", "scores")
    if name not in kept:
        raise InputError("the run has no scores", f"run {run.name}", "name one that finished")
    return Store().lookup("scores", kept[name][1])


def score_changes(
    before: TableRef,
    after: TableRef,
    completions: TableRef,
    problems: TableRef,
    *,
    rows: int,
) -> Result:
    """What the second table judges otherwise than the first: a 2 × 2, and groups of changed rows.

    The first table may judge more completions, as a run does that was rescored with a limit. Each
    group names `rows` of its completions, with prompt, text and expected answer.
    """
    store = Store()
    first, second, answers = (store.read(table) for table in (before, after, completions))
    changes = compare_scores(_judged_by_both(first, second), second)
    texts = _texts(store.read(problems), answers, _shown(changes, rows))
    return {
        "before": provenance_of(first)["config"]["scorer"],
        "after": provenance_of(second)["config"]["scorer"],
        "rows": changes.rows,
        "correct_in_both": changes.correct_in_both,
        "correct_only_before": changes.correct_only_before,
        "correct_only_after": changes.correct_only_after,
        "correct_in_neither": changes.correct_in_neither,
        "groups": [
            {
                "direction": group.direction,
                "codes": list(group.codes),
                "count": group.count,
                "rows": [
                    {
                        "problem_id": row.problem_id,
                        "sample_index": row.sample_index,
                        **texts[row.problem_id, row.sample_index],
                        "reward": list(row.reward),
                        "outcome": list(row.outcome),
                    }
                    for row in group.first(rows)
                ],
            }
            for group in changes.groups
        ],
    }


def golden_check(path: str, dataset: str, scorer: str) -> Result:
    """A scorer against a JSONL file of golden rows, whose ids are problems of the dataset.

    Raises InputError, naming the line, for a row that cannot be used, and for a file without rows.
    """
    if not Path(path).is_file():
        raise InputError("no such file", f"--golden {path}")
    expected = _expected_answers(dataset)
    lines: list[int] = []
    rows: list[GoldenRow] = []
    for line, record in jsonl_objects(Path(path)):
        where = f"{path}, row {line}"
        try:
            rows += golden_rows([_plain(record)], expected)
        except InputError as error:
            raise InputError(error.what, where, error.remedy) from None
        if rows[-1].finish_reason not in ("stop", "length"):
            raise InputError(
                f"its finish_reason is {rows[-1].finish_reason!r}", where, "write stop or length"
            )
        lines.append(line)
    if not rows:
        raise InputError("has no rows", f"--golden {path}", "a check of nothing would pass")
    report = check_golden(get_scorer(scorer), rows)
    return {
        "golden": path,
        "dataset": dataset,
        "scorer": report.scorer,
        "rows": report.rows,
        "passed": report.passed,
        **_misses(report, lines),
    }


def _misses(report: GoldenReport, lines: Sequence[int]) -> Result:
    listed = {
        "false_positives": report.false_positives,
        "false_negatives": report.false_negatives,
    }
    return {
        name: [
            asdict(miss.row)
            | {"row": lines[miss.place], "reward": miss.reward, "code": miss.code}
            | {"outcome": miss.outcome}
            for miss in misses
        ]
        for name, misses in listed.items()
    }


def _expected_answers(dataset: str) -> dict[str, str]:
    """The expected answer of every problem of a dataset, whatever its split."""
    tables = (
        [load_problems(dataset, split) for split in arithmetic.SPLITS]
        if dataset == arithmetic.NAME
        else [read_problem_file(dataset)]
    )
    return {
        identity: answer
        for table in tables
        for identity, answer in zip(
            table["problem_id"].to_pylist(), table["expected_answer"].to_pylist(), strict=True
        )
    }


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


def _judged_by_both(longer: pa.Table, shorter: pa.Table) -> pa.Table:
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
    answers = completions.filter(pc.is_in(completions["problem_id"], ids))
    return {
        (row["problem_id"], row["sample_index"]): {
            "prompt": asked[row["problem_id"]]["prompt"],
            "completion": row["text"],
            "expected": asked[row["problem_id"]]["expected_answer"],
        }
        for row in answers.select(["problem_id", "sample_index", "text"]).to_pylist()
        if (row["problem_id"], row["sample_index"]) in keys
    }
