"""The built-in dataset is fixed for good and its splits share no question."""

from __future__ import annotations

import re

import pytest

from artifacts.datasets.arithmetic import DEV, FAMILIES, HOLDOUT, SPLITS, arithmetic, questions
from artifacts.datasets.problems import Datasets
from artifacts.store.tables import content_digest
from policy.model.template import TEMPLATES
from schemas.errors import InputError
from schemas.problems import PROBLEMS

WORKED = re.compile(r"What is (\d+) ([-+*]) (\d+)\?")


def question(prompt: str) -> tuple[str, tuple[int, ...]]:
    match = WORKED.fullmatch(prompt)
    assert match
    a, sign, b = int(match[1]), match[2], int(match[3])
    return sign, ((a, b) if sign == "-" else tuple(sorted((a, b))))


def test_splits_share_no_question_whichever_way_round_it_is_asked() -> None:
    asked = [question(p) for split in SPLITS for p in arithmetic(split)["prompt"].to_pylist()]
    assert len(asked) == len(set(asked))


def test_every_answer_is_right() -> None:
    for split in SPLITS:
        for row in arithmetic(split).to_pylist():
            match = WORKED.fullmatch(row["prompt"])
            assert match
            a, b = int(match[1]), int(match[3])
            value = {"+": a + b, "-": a - b, "*": a * b}[match[2]]
            assert row["expected_answer"] == str(value)


def test_measured_splits_hold_every_family_alike() -> None:
    for split, size in (("holdout", HOLDOUT), ("dev", DEV)):
        families = arithmetic(split)["family"].to_pylist()
        assert {name: families.count(name) for name in FAMILIES} == dict.fromkeys(FAMILIES, size)
    assert arithmetic("holdout").num_rows >= 200
    first = arithmetic("holdout")["family"].to_pylist()[:30]
    assert set(first) == set(FAMILIES), "the first rows are a fair sample, for --limit"


def test_the_dataset_never_changes() -> None:
    digests = {split: content_digest(PROBLEMS.validate(arithmetic(split))) for split in SPLITS}
    assert {split: digest[:12] for split, digest in digests.items()} == PINNED


PINNED = {"train": "347a33ced1cd", "dev": "ea0a01b63fe6", "holdout": "72eed34901ef"}


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(InputError, match="no split 'test'.*train, dev, holdout"):
        Datasets().load("arithmetic", "test")


def test_an_unknown_family_is_an_error() -> None:
    with pytest.raises(ValueError, match="no family 'division'"):
        next(questions("division"))


def test_the_worked_examples_of_the_prompt_answer_no_question_of_the_dataset() -> None:
    shown = {prompt for template in TEMPLATES.values() for prompt, _ in template.examples}
    examples = {question(prompt) for prompt in shown if prompt.startswith("What is")}
    asked = {question(p) for split in SPLITS for p in arithmetic(split)["prompt"].to_pylist()}
    assert examples
    assert not examples & asked
