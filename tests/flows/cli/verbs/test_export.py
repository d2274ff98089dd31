"""What was exported is whole, is read by others, and takes no place that is taken."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from flows.cli.parser import main
from flows.learning import learning_flow
from policy.model.load import fingerprint, load_policy
from schemas.config import LearningConfig
from schemas.results import LearningResult
from tests.data_folder import all_runs


@pytest.fixture
def learned_here(learning_config: LearningConfig) -> LearningResult:
    result: LearningResult = learning_flow.fn(learning_config)
    return result


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    assert main([*words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_a_taken_place_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        pytest.fail("it was read first")

    monkeypatch.setattr("flows.cli.verbs.export.find_measurement", read)
    monkeypatch.setattr("flows.cli.verbs.export.resolve_policy", read)
    taken = tmp_path / "taken"
    taken.mkdir()
    for words in (["eval-1", "--to", "jsonl", "--out"], ["models:/threeloops/1", "--to"]):
        assert main(["export", *words, str(taken)]) == 2
        assert "is there already" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("what", [("models:/none/1", "--to", "mine"), ("eval-1", "--to", "jsonl")])
def test_what_it_makes_in_a_data_folder_is_nobody_elses(
    what: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "fresh"))
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o022)
    try:
        assert main(["export", *what]) == 2
    finally:
        os.umask(before)
    made = [tmp_path / "fresh", *(tmp_path / "fresh").rglob("*")]
    assert tmp_path / "fresh" / "mlflow.db" in made
    assert [str(path) for path in made if path.stat().st_mode & 0o077] == []


@pytest.mark.slow
def test_a_version_and_a_run_become_files_of_ones_own(
    learned_here: LearningResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o022)
    try:
        made = answer(capsys, "export", "models:/threeloops/1", "--to", "mine")
        run = all_runs()[0].name
        written = answer(capsys, "export", f"{run}:before", "--to", "jsonl")
    finally:
        os.umask(before)
    assert fingerprint(tmp_path / "mine") == made["digest"]
    load_policy(tmp_path / "mine", name="mine", device="cpu")
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o755, "as usual, not as it was kept"
    assert {
        stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "mine").rglob("*.safetensors")
    } == {0o644}
    assert written["written"] == f"{run}-before.jsonl"
    file = f"{run}-before.jsonl"
    measured = json.loads(json.dumps(learned_here.before.metrics.model_dump(mode="json")))
    again = answer(capsys, "eval", "--dataset", file, "--completions", file)
    metrics = again["metrics"]
    assert isinstance(metrics, dict)
    for name in ("pass_rate", "problems", "completions"):
        assert metrics[name] == measured[name]
    row = json.loads(Path(file).read_text().splitlines()[0])
    assert set(row["samples"][0]) >= {"completion", "reward", "code", "token_count"}

    for words in (
        ["models:/threeloops/1", "--to", "mine"],
        [f"{run}:before", "--to", "jsonl"],
    ):
        assert main(["export", *words]) == 2
        assert "is there already" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_what_cannot_be_exported_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (
            ["models:/none/1", "--to", str(tmp_path / "x")],
            "threeloops: export models:/none/1: no such version",
        ),
        (["models:/none/1", "--to", "x", "--out", "y"], "--out: is for runs"),
        (
            ["eval-123456", "--to", "zip"],
            "--to zip: is no format for a run; give jsonl, lm-eval, inspect",
        ),
        (["eval-123456", "--to", "jsonl"], "no such run"),
    ):
        assert main(["export", *words]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert said in line
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]
