"""`show --lineage`: from the dataset to the decision, and what no longer has its bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from flows.cli.parser import main

pytestmark = pytest.mark.slow

Ask = Callable[..., tuple[int, dict[str, Any]]]
VERSION = "models:/threeloops/1"


def _links(output: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(link["role"], link["stage"], link["state"]) for link in output["links"]]


def _of(output: dict[str, Any], role: str, stage: str = "") -> dict[str, Any]:
    (found,) = (one for one in output["links"] if (one["role"], one["stage"]) == (role, stage))
    return dict(found)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


@pytest.fixture
def learning(home: DataDir) -> str:
    """The id of the learning run."""
    return next(run.run_id for run in Archive(home).history.loops() if run.loop.letter == "C")


def test_a_version_leads_from_the_dataset_to_the_decision(
    learning: str, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = ask("show", "--lineage", VERSION)
    steps = [("step", f"step {n}") for n in (1, 2, 3)]
    way = [("dataset", ""), *((role, "before") for role in ("model", "completions", "scores"))]
    way += [("training", ""), *steps]
    way += [*((role, "after") for role in ("model", "completions", "scores"))]
    way += [("version", ""), ("decision", "")]
    assert _links(output) == [(*one, "matches") for one in way]
    assert (code, output["intact"], output["run_id"]) == (0, True, learning)
    assert all(len(link["digest"]) == 64 for link in output["links"])
    assert _of(output, "version")["name"] == VERSION
    assert "refused models:/threeloops/1" in _of(output, "decision")["note"]
    decision = _of(output, "decision")["name"]
    for same in (learning, decision):
        assert ask("show", "--lineage", same)[1]["links"] == output["links"]
    assert main(["show", "--lineage", VERSION]) == 0
    shown = capsys.readouterr().out
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert "3 matches" in shown, "what the steps learned from is one line"


def test_an_evaluation_and_a_replay_of_it_have_their_own_way(home: DataDir, ask: Ask) -> None:
    run = next(run for run in Archive(home).history.loops() if run.loop.letter == "A")
    expected = [(role, "", "matches") for role in ("dataset", "model", "completions", "scores")]
    assert _links(ask("show", "--lineage", run.name)[1]) == expected
    code, replayed = ask("rescore", run.name, "--scorer", "contains_int@1")
    assert code == 0
    code, output = ask("show", "--lineage", replayed["run_id"])
    assert _links(output) == expected, "the completions say which model made them"
    code, picked = ask("select", "--completions", run.name, "--pick", "majority")
    assert code == 0
    output = ask("show", "--lineage", picked["run_id"])[1]
    assert _links(output) == [*expected, ("selection", "", "matches")]


def test_what_was_changed_or_deleted_is_named(
    home: DataDir, learning: str, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    before = ask("show", "--lineage", learning)[1]
    _flip(Path(_of(before, "scores", "after")["where"]))
    Path(_of(before, "step", "step 2")["where"]).unlink()
    weights = Path(_of(before, "version")["where"]) / "model.safetensors"
    _flip(weights)
    decision = Path(_of(before, "decision")["where"])
    decided = json.loads(decision.read_bytes())
    decision.write_text(json.dumps(decided | {"min_gain": 0.5}))
    code, output = ask("show", "--lineage", learning)
    assert (code, output["intact"]) == (1, False)
    states = {(role, stage): state for role, stage, state in _links(output) if state != "matches"}
    assert states == {
        ("scores", "after"): "differs",
        ("step", "step 2"): "missing",
        ("model", "after"): "differs",
        ("version", ""): "differs",
        ("decision", ""): "differs",
    }
    assert _of(output, "version")["note"] == "changed: model.safetensors"
    assert main(["show", "--lineage", learning]) == 1
    shown = capsys.readouterr().out
    assert "Not everything has the bytes that were recorded." in shown


def test_a_table_made_from_others_than_the_runs_differs(home: DataDir, ask: Ask) -> None:
    """A tag of the run that leads to another run's scores: the bytes match, the way does not."""
    archive = Archive(home)
    runs = {run.loop.letter: run for run in archive.history.loops()}
    _, digest = runs["C"].table_refs()["scores_after"]
    archive.tracking.client.set_tag(runs["A"].run_id, "threeloops.table.scores", f"scores:{digest}")
    output = ask("show", "--lineage", runs["A"].name)[1]
    link = _of(output, "scores")
    assert link["state"] == "differs"
    assert link["note"] in (
        "it was made from other completions than the run's",
        "it was made from other problems than the run's",
    )


def test_what_has_no_way_is_refused_in_one_line(
    home: DataDir, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("nothing", "models:/threeloops/7", "models:/"):
        assert main(["show", "--lineage", name]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) <= 2
    model = next(home.run_artifacts.glob("models/*/artifacts"))
    shutil.rmtree(model)
    assert _of(ask("show", "--lineage", VERSION)[1], "version")["state"] == "missing"
