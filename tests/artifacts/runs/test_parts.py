"""The first problems, the first samples, and those that are there: each is counted and said."""

from __future__ import annotations

import pytest

from artifacts.runs.parts import choose, first_of
from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import Store
from schemas.errors import InputError
from schemas.imported import Part, PartialAnswers
from tests.artifacts.measuring import measure

KNOWN = ("a", "b", "c", "d")
WHOLE = dict.fromkeys(KNOWN, "xyz")
HOLED = {"a": "xyz", "b": "x", "d": "xy"}


def test_without_a_wish_all_problems_need_the_same_number_of_answers() -> None:
    assert choose(KNOWN, WHOLE, Part(), "f").ids == KNOWN
    assert choose(KNOWN, WHOLE, Part(), "f").samples == 3
    with pytest.raises(InputError, match=r"f: 1 of 4 problems have no completion \(first: 'c'\)"):
        choose(KNOWN, HOLED, Part(), "f")
    with pytest.raises(InputError, match=r"different numbers of completions \(1 for 1 .*3 for 1"):
        choose(("a", "b"), HOLED, Part(), "f")


def test_the_first_samples_are_enough_where_every_problem_has_them() -> None:
    chosen = choose(("a", "d"), HOLED, Part(samples=2), "f")
    assert (chosen.ids, chosen.samples, chosen.missing) == (("a", "d"), 2, None)
    with pytest.raises(InputError, match=r"--samples 4, f: has 3 completions a problem, not 4"):
        choose(KNOWN, WHOLE, Part(samples=4), "f")
    with pytest.raises(InputError, match=r"1 of 2 problems have fewer than 2 .*first: 'b'"):
        choose(("a", "b"), HOLED, Part(samples=2), "f")


def test_the_first_problems_are_those_of_the_dataset() -> None:
    assert choose(KNOWN, WHOLE, Part(limit=2), "f").ids == ("a", "b")
    assert choose(("d", "c"), HOLED, Part(limit=1), "f").ids == ("d",), "the rest may be missing"
    allowed = Part(limit=3, allow_missing=True)
    missing = choose(KNOWN, HOLED, allowed, "f").missing
    assert missing is not None
    assert (missing.asked, missing.without_answer) == (3, 1)


def test_what_is_missing_is_counted_where_it_is_allowed() -> None:
    chosen = choose(KNOWN, HOLED, Part(allow_missing=True), "f")
    assert (chosen.ids, chosen.samples) == (("a", "b", "d"), 1)
    assert chosen.missing == PartialAnswers(
        asked=4, without_answer=1, with_fewer=2, measured=3, samples=1, unused=3
    )
    chosen = choose(KNOWN, HOLED, Part(samples=2, allow_missing=True), "f")
    assert (chosen.ids, chosen.samples) == (("a", "d"), 2)
    assert chosen.missing == PartialAnswers(
        asked=4, without_answer=1, with_fewer=1, measured=2, samples=2, unused=1
    )
    assert choose(KNOWN, WHOLE, Part(allow_missing=True), "f").missing is None
    with pytest.raises(InputError, match="answers none of the problems"):
        choose(KNOWN, {}, Part(allow_missing=True), "f")


def test_stored_tables_are_cut_to_the_first_samples_with_their_provenance(store: Store) -> None:
    measured = measure(store, "wr", "rw")
    problems, completions = measured.problems, measured.completions
    number = completions.rows // problems.rows
    same, cut = first_of(store, problems, completions, Part(samples=1), "run x")
    assert same == problems
    rows, whole = store.read(cut), store.read(completions)
    assert rows.num_rows == problems.rows
    assert set(rows["sample_index"].to_pylist()) == {0}
    assert provenance_of(rows).config["policy"] == provenance_of(whole).config["policy"]
    assert provenance_of(rows).parent("problems") == problems.digest
    assert first_of(store, problems, completions, Part(samples=number), "x")[1] == completions
    with pytest.raises(
        InputError, match=f"--samples {number + 1}, run x: has {number} completions"
    ):
        first_of(store, problems, completions, Part(samples=number + 1), "run x")
