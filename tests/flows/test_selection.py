"""Loop B picks among samples and leaves the model alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.cli import main
from flows.selection import selection_flow
from schemas.config import SelectionConfig


@pytest.mark.usefixtures("prefect_server")
def test_selection_reports_pass_at_k_and_what_each_rule_picks(
    tiny: str, rows_in: Callable[[str], dict[str, Any]]
) -> None:
    config = SelectionConfig(model=tiny, limit=5, samples=4)
    result = selection_flow(config)
    assert (result["loop"], result["changed"]) == ("B", "which output is used")
    metrics = result["metrics"]
    assert list(metrics["pass_at_k"]) == ["1", "2", "3", "4"]
    assert metrics["pass_at_1"] == metrics["pass_at_k"]["1"]
    rates = metrics["selected_pass_rate"]
    assert set(rates) == {"oracle", "majority", "likelihood", "random"}
    assert rates["oracle"] == metrics["pass_at_k"]["4"], "the oracle finds what there is"
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("instrument"))


def test_a_rule_can_be_chosen_and_replayed(tiny: str) -> None:
    made = selection_flow.fn(SelectionConfig(model=tiny, limit=5, samples=3))
    replayed = selection_flow.fn(
        SelectionConfig(completions=made["run_id"], pick=("majority", "random"))
    )
    assert set(replayed["metrics"]["selected_pass_rate"]) == {"majority", "random"}
    for rule, rate in replayed["metrics"]["selected_pass_rate"].items():
        assert rate == made["metrics"]["selected_pass_rate"][rule]
