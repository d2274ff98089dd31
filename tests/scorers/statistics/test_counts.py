"""Correct completions of each problem."""

from __future__ import annotations

import pyarrow as pa

from scorers.statistics.counts import correct_counts


def test_a_reward_below_1_is_not_correct_and_problems_keep_their_order() -> None:
    scores = pa.table(
        {
            "problem_id": ["z", "z", "a", "m", "a", "z"],
            "reward": [1.0, 0.5, 0.0, 1.0, 1.0, 1.0],
        }
    )
    assert list(correct_counts(scores).items()) == [("z", (2, 3)), ("a", (1, 2)), ("m", (1, 1))]


def test_the_order_holds_for_many_problems_in_several_chunks() -> None:
    ids = [f"p{(place * 7919) % 20_011}" for place in range(20_011)]
    chunk = pa.table({"problem_id": ids, "reward": [float(place % 2) for place in range(20_011)]})
    counts = correct_counts(pa.concat_tables([chunk, chunk]))
    assert list(counts) == ids
    assert counts[ids[0]] == (0, 2)
    assert counts[ids[1]] == (2, 2)
