"""Generated problems: the same by the same name, integers alone, no question in two splits."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from artifacts.datasets import gym
from artifacts.datasets.gym import GENERATORS, NOT_SUPPORTED, SPLITS, GymDataset
from artifacts.datasets.problems import Datasets
from schemas.config import Columns
from schemas.errors import InputError
from schemas.problems import CANONICAL_INTEGER

SMALL = "rg:chain_sum:max_terms=2,max_digits=1,size=200"


def test_the_same_name_makes_the_same_problems_and_another_seed_others() -> None:
    first, again = GymDataset(SMALL), GymDataset(SMALL)
    other = GymDataset(f"{SMALL},seed=1")
    for split in SPLITS:
        assert first.problems(split).equals(again.problems(split))
    assert first.problems("holdout") != other.problems("holdout")


def test_no_question_comes_twice_in_any_split() -> None:
    made = GymDataset(SMALL)
    prompts = [prompt for split in SPLITS for prompt in made.problems(split)["prompt"].to_pylist()]
    assert max(Counter(prompts).values()) == 1
    assert len(prompts) < 200, "this generator repeats itself, which is what is tried here"
    assert made.problems("holdout").num_rows <= 40
    assert set(made.problems("dev")["split"].to_pylist()) == {"dev"}


def test_a_split_is_made_no_further_than_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    made = GymDataset("rg:chain_sum")
    asked: list[int] = []
    item = made._item

    def watched(number: int) -> Any:
        asked.append(number)
        return item(number)

    monkeypatch.setattr(made, "_item", watched)
    made.problems("holdout")
    assert asked == list(range(240))
    made.problems("dev")
    assert asked == list(range(360)), "and nothing is made twice"


def test_answers_are_right() -> None:
    for row in GymDataset(SMALL).problems("train").to_pylist():
        question = row["prompt"].rpartition(":")[2].removesuffix("=")
        assert eval(question) == int(row["expected_answer"]), row


@pytest.mark.parametrize("name", [one for one in GENERATORS if one != "number_sequence"])
def test_every_generator_makes_integers(name: str) -> None:
    table = GymDataset(f"rg:{name}:size=200").problems("holdout")
    assert 30 <= table.num_rows <= 40


def test_the_slow_generator_makes_integers_too() -> None:
    assert GymDataset("rg:number_sequence:size=10").problems("holdout").num_rows == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a package of a generator leaves files open
def test_no_generator_of_integers_is_missing() -> None:
    """Draws of every generator of the package, up to the first answer that is no integer."""
    from reasoning_gym import create_dataset
    from reasoning_gym.factory import DATASETS

    assert {*GENERATORS, *NOT_SUPPORTED} <= set(DATASETS)
    integers = set()
    for name in set(DATASETS) - {*GENERATORS, "composite"}:
        made = create_dataset(name, seed=0, size=200)
        answers = (made[number]["answer"] for number in range(200))
        if all(re.fullmatch(CANONICAL_INTEGER, str(one), re.ASCII) for one in answers):
            integers.add(name)
    assert integers == {"circuit_logic"}


@pytest.mark.parametrize("name", GENERATORS)
def test_the_packages_own_score_looks_at_the_integer_alone(name: str) -> None:
    from reasoning_gym import create_dataset

    made = create_dataset(name, seed=0, size=10)
    for number in range(2):
        item = made[number]
        right = int(item["answer"])
        assert made.score_answer(str(right), item) == 1
        assert all(made.score_answer(str(right + by), item) < 1 for by in (-10, 1, 10))


def test_a_question_whose_answer_is_no_integer_is_left_out_where_these_are_few() -> None:
    made = GymDataset("rg:gsm_symbolic:seed=7,size=1000")
    assert made._item(0)["answer"] == "1687.5"
    assert made._item(881)["answer"] == "17212.5"
    prompts = {split: made.problems(split)["prompt"].to_pylist() for split in SPLITS}
    assert prompts["holdout"][0] == made._item(1)["question"]
    every = [prompt for split in SPLITS for prompt in prompts[split]]
    assert not {made._item(number)["question"] for number in (0, 881)} & set(every)
    assert len(every) == 996, "and two questions come twice"


def test_the_documents_name_every_generator() -> None:
    page = (Path(__file__).parents[3] / "docs" / "your-setup.md").read_text()
    (named,) = re.findall(r"each time: ([^.]+)\.", page)
    assert tuple(re.findall(r"\w+", named.replace(" and ", " "))) == GENERATORS


def test_the_identity_has_the_version_and_every_setting() -> None:
    assert Datasets().source("rg:chain_sum:max_terms=4") == (
        "rg:chain_sum@0.1.25:allow_negation=false,max_digits=4,max_terms=4,min_digits=1,"
        "min_terms=2,seed=0,size=2000"
    )
    listed = GymDataset("rg:basic_arithmetic:operators=+:-,allow_parentheses=false")
    assert "allow_parentheses=false" in listed.identity
    assert "operators=+:-," in listed.identity
    asked = "".join(listed.problems("holdout")["prompt"].to_pylist())
    assert not set("*/()") & set(asked)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("rg:sudoku", r"sudoku is no generator of integers; use rg: with one of aiw, basic"),
        ("rg:circuit_logic", "circuit_logic answers truth values, .*; use rg: with one of aiw"),
        ("rg:", "it is no generator of integers"),
        (
            "rg:chain_sum@0.1.1:size=50",
            r"gym 0\.1\.25 is installed, and 0\.1\.1 is named; install reasoning-gym==0\.1\.1",
        ),
        ("rg:chain_sum:terms=3", r"no setting 'terms'; it has allow_negation, max_digits"),
        ("rg:chain_sum:max_terms", r"'max_terms' is no setting; write rg:chain_sum:NAME=VALUE"),
        ("rg:chain_sum:seed=1,seed=2", "seed is set twice"),
        ("rg:chain_sum:max_terms=two", "'two' is not a whole number"),
        ("rg:chain_sum:allow_negation=yes", "'yes' is neither true nor false"),
        ("rg:chain_sum:min_terms=9,max_terms=2", "chain_sum refuses its settings"),
        ("rg:chain_sum:size=5", "size of --dataset .*: is not between 10 and 1000000"),
        ("rg:chain_sum:seed=-1", "seed of --dataset .*: is not between 0"),
        ("rg:aiw:task_types=uncles", "'uncles' is not one of siblings, friends, colleagues"),
        ("rg:simple_equations:operators_weights=a", "'a' is not a number"),
    ],
)
def test_what_cannot_be_made_is_one_line(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        GymDataset(name)
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_no_integer_is_refused_with_its_row() -> None:
    made = GymDataset("rg:chain_sum:size=10")
    answers: list[Any] = ["4", "3.5"]
    made._item = lambda number: {"question": f"q{number}", "answer": answers[number]}
    with pytest.raises(InputError, match=r'row 2: expected_answer "3.5" is not an integer'):
        made.problems("holdout")


def test_a_question_with_two_answers_is_refused() -> None:
    made = GymDataset("rg:chain_sum:size=10")
    made._item = lambda number: {"question": "q", "answer": str(number)}
    with pytest.raises(InputError, match=r"row 2: the same question has the answers 0 and 1"):
        made.problems("holdout")


def test_options_for_files_are_refused() -> None:
    with pytest.raises(InputError, match=r"--split-by-hash 80/20 is for files"):
        Datasets().load("rg:chain_sum", "train", columns=Columns(split_by_hash="80/20"))


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(InputError, match=r"no split 'test'; use one of train, dev, holdout"):
        Datasets().load("rg:chain_sum", "test")


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package reasoning-gym; pip install -e"):
        GymDataset("rg:chain_sum")
    with pytest.raises(InputError, match="no generator"):
        GymDataset("rg:sudoku")
    assert gym.SIZE == 2000


def test_the_spelling_of_the_instrument_is_a_name_too() -> None:
    identity = GymDataset(SMALL).identity
    assert GymDataset(identity).identity == identity
    assert GymDataset(identity).problems("dev").equals(GymDataset(SMALL).problems("dev"))


def test_numbers_without_end_are_refused_in_plain_words() -> None:
    made = GymDataset("rg:chain_sum:min_digits=6000,max_digits=6000,size=10")
    with pytest.raises(InputError, match="has more digits than Python writes") as caught:
        made.problems("holdout")
    assert "sys." not in str(caught.value)
