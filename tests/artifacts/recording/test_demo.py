"""The demo's table has a row for the start, one for each rule, and one for what was learned."""

from __future__ import annotations

import pytest

from artifacts.recording.demo import demo_rows, describe_demo, record_demo
from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, tracked_run
from schemas.config import LearningConfig
from schemas.loops import DEMO
from schemas.result_parts import DemoRow
from schemas.results import DemoResult, EvalResult, LearningResult, SelectionResult

Rows = tuple[DemoRow, ...]


@pytest.fixture
def rows(evaluation: EvalResult, selection: SelectionResult, learning: LearningResult) -> Rows:
    return demo_rows(evaluation, selection, learning)


def test_each_loop_has_its_rate_and_says_what_it_changed(rows: Rows) -> None:
    assert [(row.loop, row.changed, row.what, row.pass_at_1) for row in rows] == [
        ("A", "nothing", "the start, measured", 1 / 3),
        ("B", "the output", "best of 3 by oracle*", 0.8),
        ("B", "the output", "best of 3 by majority", 0.4),
        ("C", "the model", "after 2 steps", 0.5),
    ]


def test_only_the_oracle_and_the_two_models_have_a_divergence(rows: Rows) -> None:
    assert [row.kl_nats for row in rows] == [0.0, 0.4, None, -0.001]


def test_numbers_that_a_row_does_not_have_are_none(rows: Rows) -> None:
    start, oracle = rows[:2]
    assert start.problems == 3
    assert start.pass_at_1_interval == (0.1, 0.7)
    assert (start.pass_at_4, start.pass_at_4_interval) == (None, None), "two samples a problem"
    assert (oracle.problems, oracle.valid_format_rate) == (None, None)


def test_pass_at_4_is_shown_where_it_was_measured(
    evaluation: EvalResult, selection: SelectionResult, learning: LearningResult
) -> None:
    metrics = evaluation.metrics.model_copy(update={"pass_at_k": {1: 1 / 3, 4: 0.75}})
    intervals = evaluation.intervals.model_copy(update={"pass_at_k": {4: (0.5, 0.875)}})
    wider = evaluation.model_copy(update={"metrics": metrics, "intervals": intervals})
    start = demo_rows(wider, selection, learning)[0]
    assert (start.pass_at_4, start.pass_at_4_interval) == (0.75, (0.5, 0.875))


def test_the_run_keeps_the_table_as_result_metrics_and_text(
    archive: Archive, rows: Rows, selection: SelectionResult, learning: LearningResult
) -> None:
    config, runs = LearningConfig(steps=2), {"A": "a" * 32, "B": "b" * 32, "C": "c" * 32}
    with tracked_run(archive, DEMO, config, Place()) as run:
        record_demo(run, config, rows, selection, learning, runs)
    found = archive.history.find(run.run_id)
    result = found.result()
    assert isinstance(result, DemoResult)
    assert (result.demo, result.runs, result.config) == (rows, runs, config)
    assert result.run_id == run.run_id
    assert found.metrics == {
        "pass_rate_before": 0.2,
        "pass_rate_after": 0.5,
        "kl_nats": -0.001,
        "selected_pass_rate.oracle": 0.8,
        "selected_pass_rate.majority": 0.4,
    }
    assert found.tags["model"] == "default"
    assert found.tags["registered"] == "models:/threeloops/1"
    assert found.tags["instrument"] == learning.instrument.digest


def test_the_description_shows_the_oracles_mark_as_a_character(rows: Rows) -> None:
    text = describe_demo(LearningConfig(), rows, "models:/threeloops/1")
    lines = text.splitlines()
    assert lines[0] == "### pass@1 33 % at the start, 50 % after learning"
    assert "on the same 3 problems of `arithmetic` holdout" in text
    assert any(line.startswith("| B | best of 3 by oracle\\* |") for line in lines)
    assert any(line.startswith("\\* knows the expected answer") for line in lines)
