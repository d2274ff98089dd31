"""Problems that two runs answered with different success, on tables worked by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.errors import InputError
from scorers.statistics.flips import Answer, flipped, problems_in_both

Run = tuple[pa.Table, pa.Table]


def problems(*ids: str, prompt: str = "2 + 2?", expected: str = "4") -> pa.Table:
    rows = len(ids)
    return pa.table(
        {"problem_id": ids, "prompt": [prompt] * rows, "expected_answer": [expected] * rows}
    )


def run(**texts: list[str]) -> Run:
    """Completions and scores; a text of 4 is right, and its code is its first letter."""
    keys = [(name, place) for name, of_one in texts.items() for place in range(len(of_one))]
    flat = [text for of_one in texts.values() for text in of_one]
    ids = {"problem_id": [name for name, _ in keys], "sample_index": [place for _, place in keys]}
    scores = {"reward": [float(text == "4") for text in flat], "code": [text[:1] for text in flat]}
    return pa.table(ids | {"text": flat}), pa.table(ids | scores)


def test_problems_are_in_both_only_if_they_ask_and_expect_the_same() -> None:
    first = pa.concat_tables([problems("a", "b"), problems("c", prompt="x"), problems("e")])
    second = pa.concat_tables([problems("e", "b", "c"), problems("a", expected="5")])
    assert problems_in_both(first, second) == ["b", "e"]


def test_better_and_worse_come_apart_with_the_largest_change_first() -> None:
    before = run(same=["4", "5"], up=["5", "6"], more=["4", "5", "5", "5"], down=["4", "4"])
    after = run(same=["5", "4"], up=["4", "5"], more=["4", "4", "4", "4"], down=["5", "4"])
    ids = ["same", "up", "more", "down"]
    better, worse = flipped(problems(*ids), ids, before, after)
    # from 1/4 to 1 is more than from 0 to 1/2
    assert [(flip.problem_id, flip.before, flip.after) for flip in better] == [
        ("more", (1, 4), (4, 4)),
        ("up", (0, 2), (1, 2)),
    ]
    assert [(flip.problem_id, flip.before, flip.after) for flip in worse] == [
        ("down", (2, 2), (1, 2))
    ]
    assert (better[0].prompt, better[0].expected_answer) == ("2 + 2?", "4")


def test_the_answers_shown_are_the_right_one_and_the_most_frequent_wrong_one() -> None:
    before = run(a=["7", "5", "5", "6"])
    after = run(a=["4", "9", "4", "4"])
    (flip,), worse = flipped(problems("a"), ["a"], before, after)
    assert worse == []
    assert flip.answer_before == Answer("5", "5")
    assert flip.answer_after == Answer("4", "4")
    (back,) = flipped(problems("a"), ["a"], after, before)[1]
    assert (back.answer_before, back.answer_after) == (Answer("4", "4"), Answer("5", "5"))


def test_equal_shares_of_different_numbers_of_samples_are_no_flip() -> None:
    before, after = run(a=["4", "5"]), run(a=["4", "5", "4", "5"])
    assert flipped(problems("a"), ["a"], before, after) == ([], [])


def test_problems_that_were_not_asked_for_are_left_out() -> None:
    before, after = run(a=["5"], b=["5"]), run(a=["4"], b=["4"])
    better, _ = flipped(problems("a", "b"), ["b"], before, after)
    assert [flip.problem_id for flip in better] == ["b"]


def test_scores_of_other_completions_are_refused() -> None:
    before, after = run(a=["5", "4"]), run(a=["4", "4"])
    mixed = (before[0], before[1].take(pa.array([1, 0])))
    with pytest.raises(InputError, match="not of these completions, row by row"):
        flipped(problems("a"), ["a"], mixed, after)
