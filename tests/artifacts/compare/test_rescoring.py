"""Two scorers on the same completions: a 2 × 2 and the rows that changed; golden rows by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from artifacts.compare.rescoring import (
    CHANGES_FILE,
    ScoredTwice,
    golden_check,
    keep_changes,
    score_changes,
    scores_before,
)
from artifacts.datasets.problems import Datasets
from artifacts.recording.measured_rows import MeasuredRows
from artifacts.recording.record import record_evaluation
from artifacts.store.tables import Store
from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig, LearningConfig
from schemas.errors import InputError, StoreError
from schemas.loops import EVALUATION, LEARNING
from schemas.measurements import Measurement
from schemas.result_parts import ScorerChange
from tests.artifacts.measuring import evaluated, measure, measurement, scored

pytestmark = pytest.mark.slow


def twice(store: Store, measured: Measurement, scorer: str = "last_int@1") -> ScoredTwice:
    after = scored(store, measured.problems, measured.completions, scorer)
    return ScoredTwice(measured.scores, after, measured.completions, measured.problems)


def test_what_a_second_scorer_says_is_counted_and_shown(store: Store) -> None:
    # the last integer of <b>1 is right, and that of the two wrong answers is not
    changes = score_changes(store, twice(store, measure(store, "rbb", "wbw")), rows=2)
    assert (changes.before, changes.after) == ("final_int@1", "last_int@1")
    assert changes.scored_before
    assert changes.rows == 6
    assert (changes.correct_in_both, changes.correct_in_neither) == (1, 2)
    assert (changes.correct_only_before, changes.correct_only_after) == (0, 3)
    won = next(group for group in changes.groups if group.direction == "won")
    assert (won.count, len(won.rows)) == (3, 2)
    first = won.rows[0]
    assert (first.problem_id, first.sample_index, first.completion) == ("p0", 1, "<b>1")
    assert (first.prompt, first.expected) == ("0 + 1?", "1")
    assert (first.reward, first.outcome) == ((0.0, 1.0), ("bad_format", "correct"))


def test_more_completions_scored_before_than_after_are_left_out(store: Store) -> None:
    whole, part = measure(store, "rb", "wb"), measure(store, "rb")
    after = scored(store, part.problems, part.completions, "last_int@1")
    before = ScoredTwice(whole.scores, after, part.completions, part.problems)
    changes = score_changes(store, before, rows=1)
    assert (changes.rows, changes.correct_only_after) == (2, 1)


def test_the_scores_of_a_run_are_found_and_those_of_a_file_are_not(
    archive: Archive, tmp_path: Path
) -> None:
    measured = measure(archive.store, "r")
    run = evaluated(archive, measured)
    assert scores_before(archive, run.name) == measured.scores
    (tmp_path / "answers").touch()
    for name in ("answers.jsonl", "a.PARQUET", str(tmp_path / "answers")):
        assert scores_before(archive, name) is None
    archive.store.path(measured.scores).write_bytes(b"x")
    with pytest.raises(StoreError, match="changed after it was written"):
        scores_before(archive, run.name)


def test_a_learning_run_is_scored_again_on_what_it_measured_after(archive: Archive) -> None:
    measured = measure(archive.store, "r")
    with tracked_run(archive, LEARNING, LearningConfig(), Place()) as run:
        run.table("completions_after", measured.completions)
        with pytest.raises(InputError, match="the run has no scores"):
            scores_before(archive, run.name)
        run.table("scores_after", measured.scores)
        assert scores_before(archive, run.name) == measured.scores


def test_changes_are_kept_with_the_run_and_its_report_shows_them(archive: Archive) -> None:
    store = archive.store
    measured = measure(store, "rb", "wb")
    again = twice(store, measured)
    changes = score_changes(store, again, rows=3)
    other = measurement(store, again.problems, again.completions, again.after, None)
    rows, config = MeasuredRows.read(store, other), EvalConfig(samples=2, scorer="last_int@1")
    with tracked_run(archive, EVALUATION, config, Place()) as run:
        for name in ("problems", "completions", "scores"):
            run.table(name, getattr(other, name))
        result = record_evaluation(run, config, rows).model_copy(update={"changes": changes})
    found = archive.history.find(run.run_id)
    before = (found.folder / "report.html").read_text()
    keep_changes(archive, found, result, measured.scores)
    kept = (found.folder / CHANGES_FILE).read_bytes()
    assert ScorerChange.model_validate_json(kept) == changes
    after = (found.folder / "report.html").read_text()
    assert "final_int@1" not in before
    assert "final_int@1" in after


def golden(folder: Path, *rows: object) -> str:
    path = folder / "golden.jsonl"
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    path = tmp_path / "sums.jsonl"
    path.write_text(json.dumps({"id": 7, "prompt": "1 + 2?", "expected_answer": 3}))
    return str(path)


def test_golden_rows_that_get_more_or_less_are_named_by_line(tmp_path: Path, dataset: str) -> None:
    path = golden(
        tmp_path,
        {"id": 7, "completion": "Final: 3", "expected_reward": 1},
        "",
        {"id": "7", "completion": "Final: 3", "expected_reward": 0.0},
        {"id": 7, "completion": "3", "expected_reward": 1, "finish_reason": "length"},
        {"id": 7, "completion": "\ud800", "expected_reward": 0},
    )
    result = golden_check(Datasets(), path, dataset, "final_int@1")
    assert (result.rows, result.passed, result.scorer) == (4, False, "final_int@1")
    (more,), (less,) = result.false_positives, result.false_negatives
    assert (more.row, more.reward, more.expected_reward) == (3, 1.0, 0.0)
    assert (less.row, less.outcome, less.expected_answer) == (4, "truncated", "3")


def test_golden_rows_that_get_what_they_should_pass(tmp_path: Path, dataset: str) -> None:
    path = golden(tmp_path, {"id": 7, "completion": "3", "expected_reward": 0})
    assert golden_check(Datasets(), path, dataset, "final_int@1").passed


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": 8, "completion": "x", "expected_reward": 1}, "row 1: there is no problem '8'"),
        ({"id": 7, "completion": 3, "expected_reward": 1}, "row 1: its completion is 3, not text"),
        ({"id": 7, "completion": "x"}, "row 1: it has no expected_reward"),
        ({"id": 7, "completion": "x", "expected_reward": 2}, "its expected_reward is 2, not from"),
        (f'{{"id": 7, "completion": "x", "expected_reward": {"9" * 30}}}', "is inf, not from 0"),
        (
            {"id": 7, "completion": "x", "expected_reward": 1, "finish_reason": "eos"},
            "row 1: its finish_reason is 'eos'; write stop or length",
        ),
        ("{", "row 1: is not JSON"),
        ("", "a check of nothing would pass"),
    ],
)
def test_golden_rows_that_cannot_be_used_are_refused(
    tmp_path: Path, dataset: str, row: object, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        golden_check(Datasets(), golden(tmp_path, row), dataset, "final_int@1")


def test_a_golden_file_that_is_not_there_is_refused(dataset: str) -> None:
    with pytest.raises(InputError, match=r"--golden none\.jsonl: no such file"):
        golden_check(Datasets(), "none.jsonl", dataset, "final_int@1")
