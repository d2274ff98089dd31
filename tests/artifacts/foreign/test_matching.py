"""An answer belongs to the problem that it names or shows, or to none."""

from __future__ import annotations

import pyarrow as pa
import pytest

from artifacts.foreign.answers import Answer
from artifacts.foreign.matching import Matcher, split_of_all
from schemas.errors import InputError

PROMPTS = {"a": "What is 1 + 1?", "b": "What is 11 + 1?", "c": "1 + 1?", "d": "-1 + 1?"}
TABLE = pa.table(
    {
        "problem_id": list(PROMPTS),
        "prompt": list(PROMPTS.values()),
        "expected_answer": ["2", "12", "2", "0"],
        "split": ["dev", "dev", "dev", "holdout"],
    }
)


def problem_of(*prompts: str, ids: tuple[str, ...] = (), target: str | None = None) -> str:
    answer = Answer("f, row 1", "x", ids=ids, prompts=prompts, target=target)
    return Matcher(TABLE, "mine").problem_of(answer)


@pytest.mark.parametrize(
    ("shown", "problem"),
    [
        ("What is 1 + 1?", "a"),
        ("<user>What is 1 + 1?<end>", "a"),
        ("Q: What is 11 + 1? A: 12 Q: What is 1 + 1? A:", "a"),
        ("Q: What is 1 + 1? A: 2 Q: What is 11 + 1? A:", "b"),
        ("Say 1 + 1?", "c"),
        ("Say -1 + 1?", "d"),
    ],
)
def test_the_prompt_that_ends_last_and_is_longest_is_meant(shown: str, problem: str) -> None:
    assert problem_of(shown) == problem


def test_a_part_of_a_number_or_word_is_no_prompt() -> None:
    for shown in ("21 + 1?", "x1 + 1?", "What is 3 + 4?"):
        with pytest.raises(InputError, match="f, row 1: no problem of the dataset mine has"):
            problem_of(shown)


def test_the_first_id_that_is_known_is_taken_and_a_wrong_target_is_refused() -> None:
    assert problem_of(ids=("zz", "b")) == "b"
    assert problem_of("What is 1 + 1?", target="#### 3") == "a", "no integer, so not compared"
    with pytest.raises(InputError, match="expects 3 for problem 'a', and the dataset 2"):
        problem_of("What is 1 + 1?", target=" 3 ")


@pytest.mark.parametrize(
    ("shown", "other"),
    [
        ("What is 1 + 1?", "a"),
        ("<user>What is 1 + 1?<end>", "a"),
        ("Say -1 + 1?", "d"),
    ],
)
def test_an_id_whose_problem_is_not_the_one_that_is_shown_is_refused(
    shown: str, other: str
) -> None:
    said = f"f, row 1: names problem 'b' and shows the prompt of '{other}'; give the --dataset"
    with pytest.raises(InputError, match=said):
        problem_of(shown, ids=("zz", "b"))


@pytest.mark.parametrize(
    ("shown", "named"),
    [
        ("<user>What is 11 + 1?<end>", "b"),
        ("<user>What  is 11\n+ 1?<end>", "b"),
        ("What is 11 + 1? As in: What is 1 + 1? Final: 2", "b"),
        ("Q: What is 1 + 1? A: 2 Q: What is 11 + 1? A:", "b"),
        ("Say 1 + 1?", "c"),
        ("Eleven and one?", "b"),
    ],
)
def test_an_id_is_taken_where_its_prompt_or_no_prompt_is_shown(shown: str, named: str) -> None:
    assert problem_of(shown, ids=(named,)) == named


def test_a_part_of_a_longer_prompt_does_not_stand_for_it() -> None:
    for shown, other in (("What is 11 + 1?", "b"), ("What is 1 + 1?", "a")):
        with pytest.raises(InputError, match=f"names problem 'c' and shows the prompt of '{other}"):
            problem_of(shown, ids=("c",))


NUMBERED = TABLE.set_column(0, "problem_id", pa.array(["4", "3", "2", "1"]))


def numbered(*rows: tuple[str, str], target: str | None = None) -> list[str]:
    answers = [
        Answer(f"f, row {n}", "x", ids=(i,), prompts=(prompt,), target=target, counted=True)
        for n, (i, prompt) in enumerate(rows, start=1)
    ]
    return Matcher(NUMBERED, "mine").problems_of(answers)


def test_numbers_that_the_program_counted_itself_yield_to_the_prompts_of_the_whole_log() -> None:
    prompts = [f"<user>{one}<end>" for one in PROMPTS.values()]
    assert numbered(*zip("1234", prompts, strict=True)) == ["4", "3", "2", "1"]
    assert numbered(*zip("4321", prompts, strict=True)) == ["4", "3", "2", "1"]
    # the first row alone would be that of problem 3, which its worked example shows
    examples = "What is 11 + 1? Final: 12 What is 1 + 1?"
    assert numbered(("3", examples), ("2", PROMPTS["b"])) == ["4", "3"]
    with pytest.raises(InputError, match="f, row 2: no problem of the dataset mine has the id '2'"):
        numbered(("1", PROMPTS["a"]), ("2", "Two and two?"))


def test_a_number_alone_names_no_problem_unless_the_target_is_its_integer() -> None:
    assert numbered(("1", "Minus one and one?"), target="0") == ["1"]
    said = "f, row 1: has the number 1, and shows neither the prompt nor the integer of problem '1'"
    for target in (None, "#### 0"):
        with pytest.raises(InputError, match=said):
            numbered(("1", "Minus one and one?"), target=target)


def test_a_prompt_of_two_problems_is_refused() -> None:
    twice = pa.concat_tables([TABLE, TABLE.set_column(0, "problem_id", pa.array(list("efgh")))])
    with pytest.raises(InputError, match=r"its prompt is that of 2 problems \('a' and 'e'\)"):
        Matcher(twice, "mine").problem_of(Answer("w", "x", prompts=("What is 1 + 1?",)))


def test_answers_to_two_splits_are_refused_at_the_first_that_differs() -> None:
    answers = [Answer(f"f, row {n}", "x") for n in (1, 2, 3)]
    assert split_of_all(["a", "b", "c"], answers, TABLE) == "dev"
    with pytest.raises(InputError, match="f, row 3: problem 'd' is in the split holdout"):
        split_of_all(["a", "b", "d"], answers, TABLE)
