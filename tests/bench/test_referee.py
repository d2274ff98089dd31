"""The referee sees what is wrong: each broken estimate is called, each sound one is not."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from scipy.special import stdtrit

from bench.referee import gate, one_policy, two_policies
from bench.referee.bars import Cell
from bench.referee.claims import measure
from bench.referee.populations import (
    EQUAL_MEANS,
    POPULATIONS,
    UNEQUAL_MEANS,
    PairOfPolicies,
    alike,
    gained,
)
from scorers.selection import picked
from scorers.statistics.best_of_n import best_of_n_divergence
from scorers.statistics.paired import Difference, paired_difference

pytestmark = [pytest.mark.slow, pytest.mark.untraced]

RUNS = 400


def share(cell: Cell, what: str, runs: int = RUNS) -> float:
    part, whole = cell(np.random.default_rng(0), runs)[what]
    return part / whole


@pytest.mark.parametrize("population", POPULATIONS, ids=lambda one: one.name)
def test_typical_rates_have_the_mean_of_those_that_are_drawn(population) -> None:  # type: ignore[no-untyped-def]
    drawn = population.draw(np.random.default_rng(1), (200, 500))
    assert population.mean(lambda rates: rates) == pytest.approx(drawn.mean(), abs=0.005)


@pytest.mark.parametrize("pair", [*EQUAL_MEANS, *UNEQUAL_MEANS], ids=lambda one: one.name)
def test_two_policies_differ_on_average_as_they_say(pair) -> None:  # type: ignore[no-untyped-def]
    before, after = pair.draw(np.random.default_rng(1), (400, 500))
    assert (after - before).mean() == pytest.approx(pair.difference, abs=0.005)


def test_the_intervals_of_rates_hold_where_wilsons_would_not() -> None:
    # one success in ten problems has a chance of 15 %, and Wilson's lower end there is above it
    rate, z = 0.0175, 1.96
    half = z * np.sqrt(0.1 * 0.9 / 10 + z**2 / 400)
    assert (0.1 + z**2 / 20 - half) / (1 + z**2 / 10) > rate
    assert share(partial(one_policy.rate_cell, alike(rate), 10, 1), "pass@1", 2000) >= 0.93


def test_flipped_signs_would_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(change: np.ndarray) -> Difference:
        """Student's interval of the differences, which is what flipped signs come to."""
        half = stdtrit(change.size - 1, 0.975) * change.std(ddof=1) / np.sqrt(change.size)
        low, high = change.mean() - half, change.mean() + half
        p_value = 0.0 if low > 0 or high < 0 else 1.0
        return replace(paired_difference(change), low=low, high=high, p_value=p_value)

    same = next(pair for pair in EQUAL_MEANS if pair.name == "the same, all 0.01")
    cell = partial(two_policies.difference_cell, same, 60, (1, 64))
    assert share(cell, "rejected") <= 0.055
    monkeypatch.setattr(two_policies, "paired_difference", plain)
    assert share(cell, "rejected") > 0.3


def test_a_plug_in_divergence_would_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = partial(one_policy.divergence_cell, alike(0.1), 240, 4)
    assert share(cell, "held") >= 0.93
    plug_in = best_of_n_divergence(np.arange(5) / 4, 4)
    monkeypatch.setattr(picked, "divergence_weights", lambda samples: (plug_in, 0.0))
    assert share(cell, "held") < 0.2


def test_the_gate_does_not_give_way_to_evidence_that_was_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for pair in (gained(0.0), *EQUAL_MEANS[-2:]):
        cell = partial(gate.confirmations_cell, pair, 20)
        assert share(cell, "promoted", 150) <= 0.06, pair.name
    monkeypatch.setattr(gate, "level_of_look", lambda look: 0.95)
    assert share(partial(gate.confirmations_cell, gained(0.0), 20), "promoted", 150) > 0.12


@pytest.mark.parametrize("pair", EQUAL_MEANS[-6:], ids=lambda one: one.name)
@pytest.mark.parametrize("reverse", [False, True])
def test_no_kind_of_problems_gives_the_gate_a_gain_for_nothing(
    pair: PairOfPolicies, reverse: bool
) -> None:
    cell = partial(gate.gate_cell, pair, 10, reverse=reverse, problems=20)
    assert share(cell, "promoted", 100) <= 0.05


def test_measuring_the_best_of_several_again_and_again_does_not_pay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = partial(gate.best_again_cell, 5, 15, problems=240)
    assert share(cell, "promoted", 100) <= 0.05
    monkeypatch.setattr(gate, "level_of_look", lambda look: 0.9)
    assert share(cell, "promoted", 100) > 0.08


def test_the_gate_lets_a_true_gain_through() -> None:
    assert share(partial(gate.gate_cell, gained(0.05), 3), "promoted", 2000) >= 0.8


def test_the_gain_that_the_gate_shows_is_not_that_of_the_lucky() -> None:
    # the measurement that decides is 1.1 points too large here
    assert abs(share(partial(gate.gate_cell, gained(0.02), 3), "off", 5000)) < 0.005


def test_what_is_called_detectable_is_found_four_times_in_five() -> None:
    assert 0.7 < share(partial(two_policies.detectable_cell, 60, 4), "found") < 0.9


def test_the_table_has_a_row_for_each_estimate_and_a_seed_of_its_own_for_each_cell() -> None:
    found = measure(4, 0, (5, 20))["claims"]
    estimates = {claim["estimate"] for claim in found}
    assert {"gate", "KL to the start", "gain by a rule", "divergence of best of N"} <= estimates
    assert all(claim["cells"] for claim in found)
    assert measure(4, 0, (5, 20))["claims"] == found
    assert gained(0.1).difference == 0.1


def test_the_page_has_these_rows_and_no_others() -> None:
    (page,) = [
        record
        for record in json.loads(Path("docs/benchmarks.json").read_text())["records"]
        if record["label"] == "referee"
    ]
    rows = [
        [(claim["estimate"], claim["claim"], claim["checked"]) for claim in table["claims"]]
        for table in (page, measure(1, 0, (5, 20, 60)))
    ]
    assert rows[0] == rows[1], "run python -m bench --only referee"


def test_a_biased_estimate_would_be_called(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = partial(two_policies.difference_cell, gained(0.1), 60, (4, 4))
    assert abs(share(cell, "bias")) < 4.5

    def higher(change: np.ndarray) -> Difference:
        return replace(paired_difference(change), value=float(change.mean()) + 0.02)

    monkeypatch.setattr(two_policies, "paired_difference", higher)
    assert share(cell, "bias") > 4.5


@pytest.mark.parametrize("least", ["one", "half"])
def test_the_gain_by_a_rule_is_held_and_unbiased(least: str) -> None:
    cell = partial(two_policies.gain_cell, least, POPULATIONS[-3], 60, 4)
    assert share(cell, "held") >= 0.93
    assert abs(share(cell, "bias")) < 4.5
