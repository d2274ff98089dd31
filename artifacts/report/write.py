"""The report of a run: its tables read from the store, its page kept among its artifacts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from artifacts.report.html import report_html
from artifacts.report.rows import PROBLEM_COLUMNS, Asked, Sampled, page_rows
from artifacts.report.sections import VerdictCount
from artifacts.store.steps import learned_from
from artifacts.store.tables import Store
from artifacts.tracking.run import TrackedRun
from schemas.loops import AFTER, BEFORE
from schemas.problems import problem_rows
from schemas.references import TableRef
from schemas.result_parts import ScorerChange
from schemas.results import LoopResult
from schemas.scores import SCORES
from schemas.training import training_rows

REPORT_FILE = "report.html"
COMPLETION_COLUMNS = ("problem_id", "sample_index", "text", "token_count", "sum_logprob")
SCORE_COLUMNS = ("problem_id", "sample_index", "reward", "outcome", "code")

log = logging.getLogger(__name__)
Tables = Mapping[str, TableRef]


def keep_report(
    run: TrackedRun,
    result: LoopResult,
    tables: Tables,
    *,
    changes: ScorerChange | None = None,
    scores_before: TableRef | None = None,
) -> str | None:
    """Make the report of a run, keep it as `report.html` in place of an older one; its path.

    `changes` and `scores_before` are what another scorer said of the same completions. A report is
    for people: where it cannot be made, a warning and the tag `report_error` say why, None is
    returned, and the run keeps its result.
    """
    try:
        page = report_page(run.archive.store, result, tables, changes, scores_before)
        with TemporaryDirectory() as folder:
            path = Path(folder) / REPORT_FILE
            path.write_text(page, encoding="utf-8", errors="replace")
            run.file(path)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        log.warning("warning: the run has no report.html: %s", reason)
        run.tag(report_error=reason)
        return None
    return str(run.artifact_folder(REPORT_FILE))


def report_page(
    store: Store,
    result: LoopResult,
    tables: Tables,
    changes: ScorerChange | None = None,
    scores_before: TableRef | None = None,
) -> str:
    """The page of a run, with the rows of its stored tables."""
    pictures = {name: Path(path).read_bytes() for name, path in result.pictures.items()}
    last = _columns(store, tables, "scores_after" if "training" in tables else "scores")
    rows = page_rows(
        asked_in(store, tables),
        selections=store.read(tables["selections"]) if "selections" in tables else None,
        scores_before=in_order_of(last, store.read(scores_before)) if scores_before else None,
    )
    return report_html(result, rows, verdict_counts(last), pictures, changes)


def asked_in(store: Store, tables: Tables) -> list[Asked]:
    """What a run asked and was answered: its measurements, then the steps that it learned from."""
    stages = (BEFORE, AFTER) if "training" in tables else ("",)
    measured = [
        Sampled(
            stage,
            *(
                _columns(store, tables, f"{kind}_{stage}" if stage else kind)
                for kind in ("completions", "scores")
            ),
        )
        for stage in stages
    ]
    asked = [Asked(_columns(store, tables, "problems"), measured)]
    return [*asked, _trained_on(store, tables["training"])] if "training" in tables else asked


def verdict_counts(scores: pa.Table) -> list[VerdictCount]:
    """How many completions have each outcome and code."""
    counted = scores.group_by(["outcome", "code"]).aggregate([([], "count_all")])
    return [
        VerdictCount(row["outcome"], row["code"], row["count_all"]) for row in counted.to_pylist()
    ]


def _trained_on(store: Store, training: TableRef) -> Asked:
    """Every step of learning as a stage, over all the problems that were trained on."""
    columns = [*COMPLETION_COLUMNS, *(name for name in SCORE_COLUMNS if name not in SCORES.key)]
    steps: list[Sampled] = []
    seen: set[str] = set()
    asked: dict[str, list[str]] = {}  # ids not seen before, by the digest of their problems table
    for row in training_rows(store.read(training)):
        problems, rows = learned_from(store, row, columns)
        steps.append(
            Sampled(f"step {row.step}", rows.select(COMPLETION_COLUMNS), rows.select(SCORE_COLUMNS))
        )
        new = [name for name in dict.fromkeys(rows["problem_id"].to_pylist()) if name not in seen]
        asked.setdefault(problems, []).extend(new)
        seen.update(new)
    every = [
        _rows_of(store.columns("problems", digest, PROBLEM_COLUMNS), names)
        for digest, names in asked.items()
    ]
    return Asked(pa.concat_tables(every), steps)


def _rows_of(problems: pa.Table, names: Sequence[str]) -> pa.Table:
    ids = pa.chunked_array([pa.array(names, pa.string())])
    return problems.replace_schema_metadata(None).take(problem_rows(problems, ids))


def _columns(store: Store, tables: Tables, name: str) -> pa.Table:
    wanted: dict[str, Sequence[str]] = {
        "problems": PROBLEM_COLUMNS,
        "completions": COMPLETION_COLUMNS,
        "scores": SCORE_COLUMNS,
    }
    reference = tables[name]
    return store.columns(reference.kind, reference.digest, wanted[reference.kind])


def in_order_of(scores: pa.Table, others: pa.Table) -> pa.Table:
    """The rows of other scores that are of the same completions, in the same order."""
    keys = ["problem_id", "sample_index"]
    if scores.select(keys).equals(others.select(keys)):
        return others
    place = {key: row for row, key in enumerate(_keys(others))}
    return others.take(pa.array([place[key] for key in _keys(scores)]))


def _keys(scores: pa.Table) -> list[tuple[str, int]]:
    return list(
        zip(scores["problem_id"].to_pylist(), scores["sample_index"].to_pylist(), strict=True)
    )
