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


def test_an_id_goes_before_a_prompt_and_a_wrong_target_is_refused() -> None:
    assert problem_of("What is 1 + 1?", ids=("zz", "b")) == "b"
    assert problem_of("What is 1 + 1?", target="#### 3") == "a", "no integer, so not compared"
    with pytest.raises(InputError, match="expects 3 for problem 'a', and the dataset 2"):
        problem_of("What is 1 + 1?", target=" 3 ")


def test_a_prompt_of_two_problems_is_refused() -> None:
    twice = pa.concat_tables([TABLE, TABLE.set_column(0, "problem_id", pa.array(list("efgh")))])
    with pytest.raises(InputError, match=r"its prompt is that of 2 problems \('a' and 'e'\)"):
        Matcher(twice, "mine").problem_of(Answer("w", "x", prompts=("What is 1 + 1?",)))


def test_answers_to_two_splits_are_refused_at_the_first_that_differs() -> None:
    answers = [Answer(f"f, row {n}", "x") for n in (1, 2, 3)]
    assert split_of_all(["a", "b", "c"], answers, TABLE) == "dev"
    with pytest.raises(InputError, match="f, row 3: problem 'd' is in the split holdout"):
        split_of_all(["a", "b", "d"], answers, TABLE)
