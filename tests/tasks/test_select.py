"""Each rule picks one completion a problem; the same call picks the same again."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from artifacts.store.parquet_table import provenance_of
from schemas.config import SELECTION_RULES
from schemas.measurements import Measurement
from schemas.references import TableRef
from tasks.aggregate import aggregate
from tasks.load_completions import load_completions
from tasks.runtime.runtime import Runtime
from tasks.score import score
from tasks.select import select

ANSWERS = """
{"id": "1+2", "samples": ["Final: 9", "Final: 9", "Final: 3"]}
{"id": "2+2", "samples": ["Final: 4", "Final: 4", "Final: 5"]}
{"id": "4+3", "samples": ["Final: 8", "Final: 9", "seven"]}
"""


@pytest.fixture
def replayed(problems: TableRef, tmp_path: Path) -> Measurement:
    """Three problems: the majority is wrong in the first and right in the second."""
    (tmp_path / "answers.jsonl").write_text(ANSWERS)
    _, completions = load_completions(str(tmp_path / "answers.jsonl"), problems)
    return aggregate(problems, completions, score(problems, completions, "final_int@1"))


def test_a_rule_picks_one_of_each_problem(runtime: Runtime, replayed: Measurement) -> None:
    selection = select(replayed, ("oracle", "majority"), 0)
    table = runtime.store.read(selection.picks)
    picked = {
        (row["rule"], row["problem_id"]): (row["sample_index"], row["reward"])
        for row in table.to_pylist()
    }
    assert picked["oracle", "1+2"] == (2, 1.0)
    assert picked["majority", "1+2"] in ((0, 0.0), (1, 0.0))
    assert picked["majority", "2+2"] in ((0, 1.0), (1, 1.0))
    assert {rate.rule: rate.rate.value for rate in selection.rates} == {
        "oracle": 2 / 3,
        "majority": 1 / 3,
    }
    made_with = {"rules": ["oracle", "majority"], "seed": 0, "ties": "rewards"}
    assert provenance_of(table).config == made_with


def test_the_best_of_n_has_a_divergence_below_its_bound(replayed: Measurement) -> None:
    selection = select(replayed, ("oracle",), 0)
    assert selection.divergence_bound_nats == pytest.approx(math.log(3) - 2 / 3)
    assert 0 < selection.divergence_nats.value < selection.divergence_bound_nats


def test_without_log_probabilities_likelihood_is_left_out(replayed: Measurement) -> None:
    used = {rate.rule for rate in select(replayed, None, 0).rates}
    assert used == set(SELECTION_RULES) - {"likelihood"}


def test_completions_of_a_model_can_be_picked_by_every_rule(measured: Measurement) -> None:
    selection = select(measured, None, 0)
    assert [rate.rule for rate in selection.rates] == list(SELECTION_RULES)
    assert select(measured, None, 0) == selection
    rates = {rate.rule: rate.rate.value for rate in selection.rates}
    assert rates["oracle"] == max(rates.values())
