"""A user's own scorer: what it may return, and that its mistakes never become rewards."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import InputError
from scorers.custom import RowFunction, custom_scorer
from scorers.scorer import Scorer, Verdict


def named(function: RowFunction) -> Scorer:
    return custom_scorer(name="mine", version=1, spec="a rule")(function)


def score(function: RowFunction, *texts: str, finish_reason: str = "stop") -> list[dict[str, Any]]:
    rows = len(texts)
    table = named(function).score(
        pa.array(texts), pa.array([finish_reason] * rows), pa.array(["12"] * rows)
    )
    rows_out: list[dict[str, Any]] = table.to_pylist()
    return rows_out


def test_a_bool_becomes_a_reward_and_an_outcome() -> None:
    right, wrong = score(lambda text, _, expected: text.endswith(expected), "so 12", "so 13")
    assert (right["reward"], right["outcome"], right["code"]) == (1.0, "correct", "accepted")
    assert (wrong["reward"], wrong["outcome"], wrong["code"]) == (0.0, "wrong_answer", "rejected")


def test_a_partial_reward_is_kept_and_is_not_correct() -> None:
    (row,) = score(lambda *_: 0.25, "x")
    assert (row["reward"], row["outcome"], row["code"]) == (0.25, "wrong_answer", "partial")


def test_numpy_numbers_and_bools_are_rewards_too() -> None:
    def given(reward: Any) -> RowFunction:
        return lambda *_: reward

    assert score(given(np.bool_(True)), "x")[0]["reward"] == 1.0
    assert score(given(np.float32(0.5)), "x")[0]["reward"] == 0.5
    assert score(given(np.int64(0)), "x")[0]["reward"] == 0.0


def test_an_unrewarded_answer_that_was_cut_off_is_truncated() -> None:
    assert score(lambda *_: False, "x", finish_reason="length")[0]["outcome"] == "truncated"


def test_a_whole_verdict_is_kept() -> None:
    verdict = Verdict(0.0, "bad_format", "shouting", "12")
    assert score(lambda *_: verdict, "12!")[0] == {
        "reward": 0.0,
        "outcome": "bad_format",
        "code": "shouting",
        "parsed_answer": "12",
    }


def test_an_exception_names_the_row_and_is_never_a_zero() -> None:
    def fragile(text: str, finish_reason: str, expected_answer: str) -> bool:
        return int(text) == int(expected_answer)

    with pytest.raises(InputError, match="scorer mine@1, row 1: its function raised ValueError"):
        score(fragile, "12", "twelve")


@pytest.mark.parametrize("bad", [None, "yes", 2, -0.1, float("nan"), float("inf"), 1 + 0j, [1]])
def test_what_is_no_reward_names_the_row(bad: Any) -> None:
    with pytest.raises(InputError, match="scorer mine@1, row 0: its function returned"):
        score(lambda *_: bad, "x")


def test_a_verdict_with_an_unknown_outcome_names_the_row() -> None:
    with pytest.raises(InputError, match="row 0: its function returned Verdict"):
        score(lambda *_: Verdict(1.0, "great", "x", None), "x")


def test_an_edited_function_has_another_digest_even_at_the_same_version() -> None:
    def one(text: str, finish_reason: str, expected_answer: str) -> bool:
        return text == expected_answer

    def other(text: str, finish_reason: str, expected_answer: str) -> bool:
        return text == expected_answer + "!"

    assert named(one).id == named(other).id
    assert named(one).spec_digest == named(one).spec_digest != named(other).spec_digest


@pytest.mark.parametrize(
    ("name", "version", "spec"),
    [
        ("a@b", 1, "s"),
        ("a:b", 1, "s"),
        ("", 1, "s"),
        ("a", 0, "s"),
        ("a", True, "s"),
        ("a", 1, " "),
    ],
)
def test_a_bad_name_version_or_empty_spec_is_refused(name: str, version: int, spec: str) -> None:
    with pytest.raises(InputError):
        custom_scorer(name=name, version=version, spec=spec)


def test_a_file_that_changed_is_another_rule(tmp_path: Path) -> None:
    rule = tmp_path / "rule_of_mine.py"
    text = (
        "from scorers.custom import custom_scorer\n"
        "def helper(text, expected): return text.endswith(expected)\n"
        "@custom_scorer(name='mine', version=1, spec='a rule')\n"
        "def scorer(text, finish_reason, expected_answer): return helper(text, expected_answer)\n"
    )
    digests = []
    for source in (text, text.replace("text.endswith(expected)", "True")):
        rule.write_text(source)
        spec = spec_from_file_location("rule_of_mine", rule)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        digests.append(module.scorer.spec_digest)
    assert digests[0] != digests[1], "what the function calls is part of the rule"


@pytest.mark.parametrize("parsed", [7, "\ud800"])
def test_a_verdict_that_no_table_can_hold_names_the_row(parsed: Any) -> None:
    with pytest.raises(InputError, match="scorer mine@1, row 0: its function returned"):
        score(lambda *_: Verdict(0.0, "wrong_answer", "odd", parsed), "x")


@pytest.mark.parametrize(
    ("name", "version", "spec"), [("", 1, "a rule"), ("mine", 0, "a rule"), ("mine", 1, " ")]
)
def test_a_scorer_without_name_version_or_rule_cannot_be_made(
    name: str, version: int, spec: str
) -> None:
    with pytest.raises(InputError):
        Scorer(name, version, spec, lambda *_: pa.table({}))


def test_a_scorer_that_fails_or_returns_no_table_is_named() -> None:
    def raises(*_: object) -> pa.Table:
        raise ZeroDivisionError("oh")

    columns = pa.array(["x"]), pa.array(["stop"]), pa.array(["12"])
    with pytest.raises(InputError, match="its score_columns raised ZeroDivisionError: oh"):
        Scorer("mine", 1, "a rule", raises).score(*columns)
    with pytest.raises(InputError, match="scorer mine@1: its score_columns returned"):
        Scorer("mine", 1, "a rule", lambda *_: None).score(*columns)


def test_a_function_without_a_source_says_so_in_the_spec() -> None:
    scope: dict[str, Any] = {}
    exec("def made(text, finish_reason, expected):\n    return True\n", scope)
    assert named(scope["made"]).spec.endswith("source: not available")
