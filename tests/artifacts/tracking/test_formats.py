"""A result of format 2 is read with the names of today; what a user named keeps its name."""

from __future__ import annotations

from pydantic import JsonValue

from artifacts.tracking.formats import upgraded


def test_a_result_of_format_2_gets_the_names_of_today_wherever_they_stand() -> None:
    old: dict[str, JsonValue] = {
        "format": 2,
        "before": {"metrics": {"right_format": 0.5}},
        "rows": [{"right_format": 1.0}, 3],
        "demo": {"right_format": None},
    }
    assert upgraded(old) == {
        "format": 3,
        "before": {"metrics": {"valid_format_rate": 0.5}},
        "rows": [{"valid_format_rate": 1.0}, 3],
        "demo": {"valid_format_rate": None},
    }


def test_names_that_a_user_or_a_scorer_gave_stay() -> None:
    given: dict[str, JsonValue] = {
        "families": {"right_format": {"value": 1.0}},
        "codes": {"right_format": 3},
        "config": {"dataset": "right_format"},
    }
    assert upgraded({"format": 2} | given) == {"format": 3} | given


def test_a_result_of_another_format_stays_as_it_is() -> None:
    results: list[dict[str, JsonValue]] = [
        {"format": 3, "right_format": 1},
        {"format": 1},
        {"right_format": 1},
    ]
    for result in results:
        assert upgraded(result) == result
