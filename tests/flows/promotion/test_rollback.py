"""`promote --rollback`: the former champion again, said wherever decisions are said."""

from __future__ import annotations

import json
from typing import Any, NoReturn

import pytest

from artifacts.promotion.decisions import all_decisions
from flows.cli.parser import main
from tasks.runtime.runtime import process_runtime
from tests.flows.promotion.conftest import VERSION, Learn, Run, champion

pytestmark = pytest.mark.slow
SECOND = "models:/threeloops/2"
MODEL = "models:/threeloops"
BACK = ["promote", MODEL, "--rollback", "--reason"]


@pytest.fixture
def two_champions(learn: Learn, promote: Run) -> dict[str, Any]:
    """Version 1 was champion, and version 2 is; the gate's answer about version 2."""
    learn(0.1, 0.5)
    promote(VERSION)
    learn(0.5, 1.0, model=VERSION, seed=2)
    return promote(SECOND)


def test_a_rollback_is_said_wherever_decisions_are(
    two_champions: dict[str, Any], promote: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*BACK, "wrong on dates,\n\x1b[31mand slow"]) == 0
    said = capsys.readouterr().out
    assert f"{SECOND}: rolled back" in said
    assert "wrong on dates, \\u001b[31mand slow" in said
    assert f"{VERSION} is the champion again" in said
    assert champion() == VERSION
    name = all_decisions(process_runtime().archive.history)[0].name
    assert name.startswith("rollback-")
    assert main(["runs"]) == 0
    listing = capsys.readouterr().out.splitlines()
    (line,) = (line for line in listing if name in line)
    assert " rollback " in line
    assert max(map(len, listing)) <= 80
    assert "wrong on dates" in line
    assert main(["show", name, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (shown["kind"], shown["decision"], shown["promoted"]) == (
        "rollback", "rolled back", False
    )  # fmt: skip
    assert (shown["rollback"]["from_version"], shown["rollback"]["to_version"]) == (SECOND, VERSION)
    assert main(["runs", "--json"]) == 0
    (listed, *_) = json.loads(capsys.readouterr().out.splitlines()[-1])["decisions"]
    assert (listed["kind"], listed["reasons"]) == ("rollback", shown["rollback"]["reason"])
    for version in (VERSION, SECOND):
        assert main(["show", "--lineage", version]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"from {SECOND} to {VERSION}: wrong on dates" in said
    client = process_runtime().archive.tracking.client
    note = client.get_run(shown["run_id"]).data.tags["mlflow.note.content"]
    assert "Champion taken back" in note

    # nothing was forgotten: the gate counts on, and asks version 2 for evidence like any other
    again = promote(SECOND)
    assert (again["against"]["name"], again["champion"]) == (VERSION, SECOND)
    assert again["held"]["look"] > two_champions["held"]["look"]
    assert again["fresh_held"]["look"] == two_champions["fresh_held"]["look"] + 1


def test_it_ends_with_no_where_there_is_none_before(
    two_champions: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*BACK, "why", "--json"]) == 0
    capsys.readouterr()
    assert main([*BACK, "why"]) == 1
    assert "there was no champion before models:/threeloops/1" in capsys.readouterr().err
    assert main(["promote", SECOND, "--rollback", "--reason", "why"]) == 1
    assert f"{SECOND} is not the champion; that is {VERSION}" in capsys.readouterr().err


def test_a_rollback_that_was_killed_with_the_alias_is_not_made_twice(
    two_champions: dict[str, Any],
    learn: Learn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def killed(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("artifacts.promotion.decisions.settle", killed)
        assert main([*BACK, "the first reason"]) == 130
    assert champion() == VERSION
    capsys.readouterr()
    assert main([*BACK, "the second reason", "--json"]) == 0
    decided = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert decided["rollback"]["reason"] == "the first reason"
    assert champion() == VERSION
    kinds = [one.kind for one in all_decisions(process_runtime().archive.history)]
    assert kinds == ["rollback", "gate", "gate"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([MODEL, "--rollback"], ["--rollback: a rollback needs a reason", '--reason "TEXT"']),
        ([MODEL, "--rollback", "--reason", " "], ["--reason: is empty"]),
        ([MODEL, "--rollback", "--reason", "x" * 501], ["has 501 characters, more than 500"]),
        (["threeloops", "--rollback", "--reason", "x"], ["is not a registered model"]),
        ([f"{MODEL}@candidate", "--rollback", "--reason", "x"], ["is not a registered model"]),
        (
            [MODEL, "--rollback", "--reason", "x", "--min-gain", "0"],
            ["--min-gain with --rollback: a rollback needs no evidence"],
        ),
        ([VERSION, "--reason", "x"], ["--reason without --rollback"]),
        ([f"{MODEL}-of-nobody", "--rollback", "--reason", "x"], ["has no champion"]),
    ],
)
def test_what_is_missing_or_too_much_is_one_line(
    arguments: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote", *arguments]) == (1 if parts == ["has no champion"] else 2)
    (line,) = capsys.readouterr().err.splitlines()
    for part in parts:
        assert part in line
