"""`threeloops gc` in a data folder with everything: what is referred to works as before."""

from __future__ import annotations

import os
import time

import pytest

from artifacts.runs.resuming import made_steps
from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from flows.cli.parser import main
from tests.flows.doctor.conftest import Ask


def age(home: DataDir) -> None:
    then = time.time() - 7 * 24 * 3600
    for folder in (home.tables, home.checkpoints):
        for path in folder.rglob("*"):
            os.utime(path, (then, then))


def files(home: DataDir) -> set[str]:
    found = (*home.tables.rglob("*"), *home.checkpoints.rglob("*"))
    return {path.relative_to(home.root).as_posix() for path in found if path.is_file()}


def test_it_is_a_dry_run_unless_told_and_says_how_to_drop(
    home: DataDir, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated = next(run for run in ask("runs")[1]["runs"] if run["loop"] == "A")
    Archive(home).tracking.client.delete_run(evaluated["run_id"])
    age(home)
    before = files(home)
    for words in ((), ("--dry-run",)):
        code, output = ask("gc", *words)
        assert (code, output["deleted"]) == (0, False)
        assert output["kinds"]["completions tables"]["count"] == 1
        assert files(home) == before
    assert main(["gc"]) == 0
    assert "Nothing was dropped. `threeloops gc --delete` drops it." in capsys.readouterr().out
    code, dropped = ask("gc", "--delete")
    assert (code, dropped["deleted"], dropped["kinds"]) == (0, True, output["kinds"])
    assert before - files(home) == set(dropped["paths"])
    assert ask("gc")[1]["kinds"] == {}


def test_what_is_referred_to_works_as_before(home: DataDir, ask: Ask) -> None:
    learned = next(run for run in ask("runs")[1]["runs"] if run["loop"] == "C")
    steps = made_steps(Archive(home), learned["run_id"])
    asked = (
        ("show", learned["name"]),
        ("show", "--lineage", "models:/threeloops/1"),
        ("compare", f"{learned['name']}:before", f"{learned['name']}:after"),
    )
    before = [ask(*words) for words in asked]
    age(home)
    assert ask("gc", "--delete")[0] == 0
    assert [ask(*words) for words in asked] == before
    assert made_steps(Archive(home), learned["run_id"]) == steps
    assert ask("eval", "--completions", learned["name"])[0] == 0
    assert ask("promote", "models:/threeloops/1")[0] == 1
    assert [one["name"] for one in ask("doctor")[1]["findings"]] == []


@pytest.mark.parametrize("words", [["--older-than", "0"], ["--dry-run", "--delete"]])
def test_bad_input_is_one_line(
    data_dir: DataDir, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["gc", *words]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1


def test_an_empty_folder_has_nothing_to_drop(data_dir: DataDir, ask: Ask) -> None:
    code, output = ask("gc")
    assert (code, output["kinds"], output["bytes"]) == (0, {}, 0)
