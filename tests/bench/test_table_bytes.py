"""What a table weighs is measured on one that the store takes."""

from __future__ import annotations

import pytest

from bench.table_bytes import answer_bytes, lines, measure, request_bytes, shard
from schemas.completions import COMPLETIONS


def test_the_shard_is_a_table_of_completions() -> None:
    table = COMPLETIONS.validate(shard(problems=3, samples=2, tokens=5))
    assert table.num_rows == 6
    assert set(table["token_count"].to_pylist()) == {5}


def test_tokens_and_log_probabilities_are_most_of_what_is_stored() -> None:
    short, long = measure(4, 16, 10), measure(4, 16, 1010)
    grown = (long["file_bytes"] - short["file_bytes"]) / 1000
    # four letters, an id and a log-probability of four bytes each, and what Parquet adds
    assert 12.0 < grown < 14.0
    in_memory = (long["memory_bytes"] - short["memory_bytes"]) / 1000
    assert in_memory == pytest.approx(4 + 4 + 4)
    assert 0 < long["writing_bytes"] < 3 * long["memory_bytes"]


def test_a_request_is_small_and_its_answer_large() -> None:
    table = shard(problems=1, samples=8, tokens=50)
    asked, answered = request_bytes(8, 50), answer_bytes(table)
    assert 500 < asked < 5000
    assert answered > 8 * 50 * 20, "a log-probability in JSON alone has that many characters"


def test_each_length_has_a_line() -> None:
    found = list(lines([measure(2, 2, 3)], 2, 2))
    assert found[0] == "A shard of 2 problems x 2 samples:\n"
    assert found[-1].startswith("| 3 | ")
