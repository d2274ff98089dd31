"""A folder broken in many ways: each is found by name, and what is safe is repaired by moving."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from artifacts.doctor.meanings import MEANINGS
from artifacts.store.data_dir import DataDir
from artifacts.store.process import process, this_process
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from artifacts.unsent.journal import Journal, begin_journal
from artifacts.unsent.owned import OWNER
from flows.cli.parser import main
from policy.files.atomic_folder import being_written
from schemas.identity import file_digest

pytestmark = pytest.mark.slow

Ask = Callable[..., tuple[int, dict[str, Any]]]
GONE = f"{platform.node()} 999999999 5.0"
NOWHERE = "0" * 64
OLDER = Path(__file__).parents[2] / "data" / "data-folder-format-2.tar.xz"
# what depends on the machine that the tests run on
OF_THE_MACHINE = {"other-package", "python-version", "little-space", "taken-port"}


def _flip(path: Path, at: int = -20) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def _digests(root: Path) -> Counter[str]:
    return Counter(file_digest(path) for path in root.rglob("*") if path.is_file())


def _states(root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Everything below a folder: mode, times and bytes."""
    return {
        str(path): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.stat().st_ctime_ns,
            file_digest(path) if path.is_file() else "",
        )
        for path in (root, *root.rglob("*"))
    }


def _named(output: dict[str, Any], part: str = "findings") -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in output[part]:
        if one["name"] not in OF_THE_MACHINE:
            found.setdefault(one["name"], []).append(one)
    return found


def _run(home: DataDir, loop: str) -> RunRecord:
    runs = Archive(home).history.loops()
    return next(run for run in runs if (run.loop.letter, run.status) == (loop, "FINISHED"))


def _table(home: DataDir, run: RunRecord, name: str) -> Path:
    kind, digest = run.table_refs()[name]
    return home.tables / kind / f"{digest}.parquet"


def _keys(home: DataDir) -> dict[str, Path]:
    """The keys by the digest of the table behind each."""
    paths = sorted((home.tables / "keys").glob("*.json"))
    return {json.loads(path.read_bytes())["digest"]: path for path in paths}


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, as a server does."""
    waiting = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield waiting
    waiting.kill()
    waiting.wait()


def test_a_sound_folder_has_no_finding_and_is_not_changed(home: DataDir, ask: Ask) -> None:
    before = _states(home.root)
    code, output = ask("doctor")
    assert (code, _named(output)) == (0, {})
    assert output["checked"]["versions"] == 1
    assert output["checked"]["checkpoints"] == 2
    assert output["checked"]["runs"] == 5, "learning, before, after, evaluation, decision"
    assert _states(home.root) == before


def test_a_folder_of_an_earlier_version_is_not_called_damaged(home: DataDir, ask: Ask) -> None:
    shutil.rmtree(home.root)
    with tarfile.open(OLDER) as archive:
        archive.extractall(home.root.parent, filter="data")
    code, output = ask("doctor")
    assert (code, output["checked"]["keys"], output["checked"]["versions"]) == (0, 115, 1)
    assert set(_named(output)) <= {"moved-folder", "older-database", "open-to-others"}


@pytest.mark.parametrize("there", [True, False])
def test_an_empty_or_missing_folder_is_left_alone(there: bool, tmp_path: Path, ask: Ask) -> None:
    shutil.rmtree(tmp_path / "home")
    if there:
        (tmp_path / "home").mkdir(0o700)
    code, output = ask("doctor", *["--repair"] * there)
    assert (code, output["exists"], _named(output)) == (0, there, {})
    assert [path.name for path in tmp_path.iterdir()] == ["home"] * there
    assert not there or list((tmp_path / "home").iterdir()) == []


def test_a_folder_broken_in_many_ways_is_repaired_and_nothing_is_lost(
    home: DataDir, ask: Ask, orphan: subprocess.Popen[bytes]
) -> None:
    expected = _break(home, orphan)
    before = _digests(home.root)
    unchanged = _states(home.root)
    code, output = ask("doctor")
    found = _named(output)
    assert set(found) == expected
    assert code == 1
    assert _states(home.root) == unchanged, "looking changes nothing"
    for name, group in found.items():
        assert {(one["means"], one["advice"], one["level"]) for one in group} == {
            (MEANINGS[name].means, MEANINGS[name].advice, MEANINGS[name].level)
        }

    code, output = ask("doctor", "--repair")
    repaired = _named(output, "repaired")
    assert set(repaired) == expected - {"damaged-result", "damaged-decision"}
    # what had no second copy stays damaged, and is in set-aside
    assert set(_named(output)) == {"missing-table", "damaged-result", "damaged-decision"}
    assert code == 1
    assert not psutil.pid_exists(orphan.pid)
    lost = before - _digests(home.root)
    assert lost.total() <= 1, "only MLflow's database has other bytes: the dead run was closed"
    aside = Path(output["set_aside"])
    assert aside.is_relative_to(home.root / "set-aside")
    assert aside.stat().st_mode & 0o077 == 0

    assert ask("runs")[0] == 0
    evaluation = _run(home, "A")
    assert ask("show", evaluation.name)[0] == 0, "its tables were written again from the copies"
    assert ask("eval", "--completions", evaluation.name)[0] == 0
    code, decided = ask("promote", "models:/threeloops/1")
    assert (code, decided["decision"]) == (1, "refused")
    assert not [reason for reason in decided["reasons"] if "registered digest" in reason]
    again = ask("doctor", "--repair")[1]
    assert "repaired" not in again or _named(again, "repaired") == {}, "a second repair has nothing"


def _break(home: DataDir, orphan: subprocess.Popen[bytes]) -> set[str]:
    """Break a folder in many ways; returns the names of what is to be found."""
    evaluation, learning = _run(home, "A"), _run(home, "C")
    archive = Archive(home)
    client = archive.tracking.client
    tags = {"threeloops.loop": "A", OWNER: GONE}
    client.create_run(archive.tracking.experiment_id, tags=tags, run_name="eval")

    _flip(_table(home, evaluation, "scores"))  # MLflow has a copy
    _table(home, evaluation, "completions").unlink()  # here too
    _flip(evaluation.folder / "tables" / "problems.parquet")  # the store has it

    training = _table(home, learning, "training")
    step = pq.read_table(training)["step_digest"].to_pylist()[0]
    alone = home.tables / "step" / f"{step}.parquet"
    _flip(alone)  # there is no other copy

    whole = _whole(home)
    first, second, third = [key for table, key in sorted(_keys(home).items()) if table in whole][:3]
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    third.write_bytes(b"{}")
    nothing = {"kind": "scores", "digest": NOWHERE, "rows": 1}
    (home.tables / "keys" / f"{NOWHERE}.json").write_text(json.dumps(nothing))

    (learning.folder / "result.json").write_text('{"format": 3')
    decision = next(home.run_artifacts.glob("*/artifacts/decision.json"))
    decision.write_text("no")
    step_2 = sorted((home.checkpoints / learning.run_id).iterdir())[0]
    _flip(max((path for path in step_2.rglob("*") if path.is_file()), key=_size))
    (home.checkpoints / ("f" * 32) / "step-000001").mkdir(parents=True)

    version = next(home.run_artifacts.glob("models/*/artifacts"))
    shutil.copytree(version, home.models / "hub" / "mine--copy")
    _flip(version / "model.safetensors")  # the copy has its bytes
    archive.folders.digest(home.models / "hub" / "mine--copy")
    _flip(home.models / "hub" / "mine--copy" / "tokenizer.json")
    (home.models / "hub" / "mine--half").mkdir()
    (home.models / "hub" / "mine--half" / "config.json").write_text("{}")

    begun = f".writing-{GONE.replace(' ', '%20')}~abc"
    (home.tables / "scores" / begun).write_bytes(b"half")
    (home.models / ".thing.partial").mkdir()
    (home.models / ".other.former").mkdir()
    (home.root / "mlflow.db.new").write_bytes(b"half")
    home.prefect.mkdir(exist_ok=True)
    (home.prefect / "prefect.db").write_bytes(b"no database at all" * 400)
    (home.prefect / "servers").mkdir(exist_ok=True)
    record = home.prefect / "servers" / f"{orphan.pid}.txt"
    record.write_text(f"{GONE}\n{process(orphan.pid)}\n")
    (home.root / "up.json").write_text("")
    for path in home.root.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    third.chmod(0o644)
    return {
        "changed-table", "missing-table", "changed-copy", "wrong-key", "damaged-key",
        "key-to-nothing", "damaged-result", "damaged-decision", "dead-run", "damaged-checkpoint",
        "checkpoint-of-no-run", "changed-version", "changed-model", "unusable-model",
        "half-written-file", "half-made-folder", "former-folder", "damaged-prefect-database",
        "orphaned-server", "dead-up-file", "open-to-others",
    }  # fmt: skip


def _size(path: Path) -> int:
    return path.stat().st_size


def _whole(home: DataDir) -> set[str]:
    tables = home.tables.glob("*/*.parquet")
    return {path.stem for path in tables if file_digest(path) == path.stem}


def test_a_damaged_database_is_set_aside_and_the_folder_goes_on(home: DataDir, ask: Ask) -> None:
    home.tracking_database.write_bytes(home.tracking_database.read_bytes()[:9000])
    damaged = file_digest(home.tracking_database)
    code, output = ask("doctor")
    assert (code, set(_named(output))) == (1, {"damaged-database"})
    assert "checkpoint-of-no-run" not in _named(output), "nothing says whose they are"
    code, output = ask("doctor", "--repair")
    assert file_digest(Path(output["set_aside"]) / "mlflow.db") == damaged
    assert set(_named(output)) == {"missing-database"}
    assert _in_a_process("runs", "--json")["runs"] == []
    completions = str(next((home.tables / "completions").glob("*.parquet")))
    replayed = _in_a_process("eval", "--completions", completions, "--json")
    assert [run["run_id"] for run in _in_a_process("runs", "--json")["runs"]] == [
        replayed["run_id"]
    ]
    code, output = ask("doctor")
    assert code == 0
    (unlisted,) = _named(output)["unlisted-runs"]
    assert "files of 5 runs that it does not list" in unlisted["what"]
    assert "set-aside/" in unlisted["advice"]


def test_a_table_is_written_again_from_a_copy_also_where_the_database_is_damaged(
    home: DataDir, ask: Ask
) -> None:
    table = _table(home, _run(home, "A"), "scores")
    whole = table.read_bytes()
    _flip(table)
    home.tracking_database.write_bytes(home.tracking_database.read_bytes()[:9000])
    _, output = ask("doctor", "--repair")
    (repaired,) = _named(output, "repaired")["changed-table"]
    assert "written again from mlartifacts" in repaired["repaired"]
    assert table.read_bytes() == whole


def _a_file(root: Path) -> Path:
    root.write_text("x")
    return root


def _below_a_file(root: Path) -> Path:
    return _a_file(root) / "home"


def _link_to_nowhere(root: Path) -> Path:
    root.symlink_to(root.with_name("nowhere"))
    return root


@pytest.mark.parametrize("make", [_a_file, _below_a_file, _link_to_nowhere])
def test_what_stands_where_the_data_folder_belongs_is_damage(
    make: Callable[[Path], Path],
    tmp_path: Path,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("THREELOOPS_HOME", str(make(tmp_path / "place")))
        code, output = ask("doctor")
        assert (code, set(_named(output))) == (1, {"no-folder"})
        assert _named(output)["no-folder"][0]["where"] == str(tmp_path / "place")
        assert main(["doctor"]) == 1
    assert "the first command that keeps something makes it" not in capsys.readouterr().out


def _in_a_process(*words: str) -> dict[str, Any]:
    """What a command of its own prints: this process still has the former database open."""
    command = [sys.executable, "-m", "flows.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_what_runs_is_left_alone(home: DataDir, ask: Ask) -> None:
    """A live run with a checkpoint without its record, a file being written, and a live server."""
    archive = Archive(home)
    client = archive.tracking.client
    tags = {"threeloops.loop": "C", OWNER: this_process()}
    made = client.create_run(archive.tracking.experiment_id, tags=tags, run_name="learn")
    step = home.checkpoints / made.info.run_id / "step-000002"
    step.mkdir(0o700, parents=True)
    step.parent.chmod(0o700)
    partial = home.run_artifacts / ".artifacts.partial"
    partial.mkdir(0o700)
    begun = f".writing-{this_process().replace(' ', '%20')}~abc"
    (home.tables / "scores" / begun).write_bytes(b"half")
    (home.tables / "scores" / begun).chmod(0o600)
    with closing(sqlite3.connect(home.tracking_database)) as writer, being_written(partial):
        writer.execute("begin immediate")
        assert _named(ask("doctor")[1]) == {}
        assert _named(ask("doctor", "--repair")[1]) == {}


def test_what_a_server_was_not_told_is_counted_and_damage_to_it_is_set_aside(
    home: DataDir, ask: Ask
) -> None:
    journal = begin_journal(home, "mlflow", "http://127.0.0.1:9")
    for number in range(3):
        journal.keep({"call": "set tag", "value": f"{number}"})
    sent = Journal(journal.path.with_suffix(".sent"))
    sent.keep({"sent": 1, "names": {}})
    sent.close()
    assert _named(ask("doctor")[1]) == {}, "its writer goes on: this process"

    journal.close()
    code, output = ask("doctor")
    (found,) = _named(output)["unsent"]
    assert (code, found["what"]) == (0, "2 of 3 records wait for mlflow at http://127.0.0.1:9")
    before = _digests(home.root)
    assert set(_named(ask("doctor", "--repair")[1])) == {"unsent"}
    assert _digests(home.root) == before, "whole records are left where they are"

    _flip(journal.path, at=40)
    damaged = file_digest(journal.path)
    code, output = ask("doctor")
    assert (code, set(_named(output))) == (1, {"damaged-unsent"})
    code, output = ask("doctor", "--repair")
    assert (code, _named(output)) == (0, {})
    kept = Path(output["set_aside"]) / journal.path.relative_to(home.root)
    assert file_digest(kept) == damaged
    assert kept.with_suffix(".sent").exists()


def test_a_version_without_another_copy_is_set_aside_and_refused_in_one_line(
    home: DataDir, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = next(home.run_artifacts.glob("models/*/artifacts")) / "model.safetensors"
    _flip(weights)
    damaged = file_digest(weights)
    assert set(_named(ask("doctor")[1])) == {"changed-version"}
    code, output = ask("doctor", "--repair")
    assert (code, set(_named(output))) == (1, {"missing-version"})
    (left,) = _named(output)["missing-version"]
    assert "there is no whole copy here" in left["advice"]
    assert "--repair" not in left["advice"], "it has just been tried"
    kept = Path(output["set_aside"]) / weights.relative_to(home.root)
    assert file_digest(kept) == damaged
    assert ask("promote", "models:/threeloops/1")[1]["decision"] == "refused"
    capsys.readouterr()
    assert main(["export", "models:/threeloops/1", "--to", str(kept.parent / "mine")]) == 2
    said = capsys.readouterr().err
    assert "models:/threeloops/1: its files are not those that were registered" in said
    assert "`threeloops doctor`" in said
    shutil.copy(kept, weights)
    _flip(weights)  # what was registered is put back
    weights.chmod(0o600)
    assert (ask("doctor")[0], _named(ask("doctor")[1])) == (0, {})


def test_no_heavy_import_is_needed() -> None:
    heavy = "torch", "transformers", "mlflow", "prefect"
    code = (
        "import sys; from flows.cli.parser import main; main(['doctor'])\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert not Path(os.environ["THREELOOPS_HOME"], "tables").exists()
