"""Loop B picks among samples and leaves the model alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.cli.parser import main
from flows.selection import selection_flow
from schemas.config import SelectionConfig

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("prefect_server")
def test_selection_reports_pass_at_k_and_what_each_rule_picks(
    tiny: str, rows_in: Callable[[str], dict[str, Any]]
) -> None:
    config = SelectionConfig(model=tiny, limit=5, samples=4)
    result = selection_flow(config)
    assert (result.loop, result.changed) == ("B", "which output is used")
    metrics = result.metrics
    assert list(metrics.pass_at_k) == [1, 2, 3, 4]
    assert metrics.pass_at_1 == metrics.pass_at_k[1]
    rates = metrics.selected_pass_rate
    assert set(rates) == {"oracle", "majority", "likelihood", "random"}
    assert rates["oracle"] == metrics.pass_at_k[4], "the oracle finds what there is"
    assert all(rates["oracle"] >= rate for rate in rates.values())
    best = result.best_of_n
    assert 0 <= best.divergence_nats.value <= best.bound_nats
    assert list(result.control.pass_at_k) == list(metrics.pass_at_k)
    for selected in result.selected.values():
        assert selected.gain.low <= selected.gain.value <= selected.gain.high
    table = pq.read_table(result.tables["selections"])
    assert table.num_rows == 5 * 4
    assert Path(result.pictures["pass_at_k.png"]).stat().st_size > 1000
    report = rows_in(Path(str(result.report)).read_text())
    assert (len(report["text"]), report["rules"]) == (20, list(rates))
    marked = sum(mark.bit_count() for mark in report["picked"])
    assert marked == 5 * 4, "each rule's pick of each problem is marked in the report"


def test_a_person_reads_who_needs_the_answer_and_what_the_search_cost(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = selection_flow.fn(SelectionConfig(model=tiny, limit=5, samples=4))
    assert main(["select", "--completions", made.run_id]) == 0
    shown = capsys.readouterr().out
    assert "Loop B: selection (changed: which output is used)" in shown
    assert "the oracle needs the expected answer" in shown
    assert "majority, likelihood and random can do without it" in shown
    assert "nats from the policy" in shown
    assert "the bound log N - (N-1)/N is 0.64" in shown  # log 4 - 3/4
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("instrument"))


def test_a_rule_can_be_chosen_and_replayed(tiny: str) -> None:
    made = selection_flow.fn(SelectionConfig(model=tiny, limit=5, samples=3))
    replayed = selection_flow.fn(
        SelectionConfig(completions=made.run_id, pick=("majority", "random"))
    )
    assert set(replayed.metrics.selected_pass_rate) == {"majority", "random"}
    for rule, rate in replayed.metrics.selected_pass_rate.items():
        assert rate == made.metrics.selected_pass_rate[rule]
