"""Inputs through the whole command: an answer, or one line and exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.inputs.cases import Case, cases, harmless
from tests.fuzz.through import Commands, Outcome, check

pytestmark = [pytest.mark.slow, pytest.mark.untraced]
FEW = 25
REPLAY = ("eval", "--dataset", "problems.jsonl", "--completions", "answers.jsonl")


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with Commands(tmp_path_factory.mktemp("command")) as started:
        yield started


def test_a_command_answers_or_refuses_in_one_line(commands: Commands, tiny: str) -> None:
    Case([]).lay(commands.folder, Path(tiny))
    answered = commands.run([*REPLAY])
    check(answered)
    assert answered.code == 0
    tried: list[int | None] = []

    def one(case: Case) -> None:
        case.lay(commands.folder, Path(tiny))
        outcome = commands.run(case.words)
        check(outcome)
        assert commands.unfinished() == []
        tried.append(outcome.code)

    few = settings(
        max_examples=FEW,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    few(given(cases())(one))()
    assert len(tried) >= FEW
    assert 2 in tried


@pytest.mark.parametrize("name", ["pipe", "folder", "circle", "zero", "memory"])
def test_what_is_no_file_is_refused_at_once(name: str, commands: Commands, tiny: str) -> None:
    Case([]).lay(commands.folder, Path(tiny))
    for words in (["eval", "--dataset"], ["rescore"], ["rescore", "--golden"], ["eval", "--model"]):
        outcome = commands.run([*words, f"{name}.jsonl"])
        assert outcome.code == 2
        check(outcome)


@pytest.mark.parametrize(
    ("code", "out", "err"),
    [
        (None, "", "threeloops: no\n"),
        (70, "", "threeloops: a defect\n"),
        (2, "", "Traceback (most recent call last)\n"),
        (2, "", "threeloops: two\nthreeloops: lines\n"),
        (2, "", "threeloops: \x1b[31m\n"),
        (2, "out", "threeloops: no\n"),
        (1, "", "threeloops: no\n"),
    ],
)
def test_what_a_command_must_not_do_is_noticed(code: int | None, out: str, err: str) -> None:
    check(Outcome(["eval"], 2, "", "threeloops: no\n"))
    with pytest.raises(AssertionError):
        check(Outcome(["eval"], code, out, err))


def test_words_that_would_start_something_are_given_a_stop() -> None:
    assert harmless(["up"]) == ["up", "--prefect-port", "70000"]
    assert harmless(["demo"])[-1] == "nowhere.jsonl"
    assert harmless(["eval", "--nope"]) == ["eval", "--nope"]
    assert harmless(["runs"]) == ["runs"]
