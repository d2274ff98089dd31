"""Gates of data folders that share MLflow, and no store, decide one after another."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path
from typing import NoReturn

import pytest

from artifacts.promotion.decisions import all_decisions
from artifacts.registry.turn import turn_in_registry
from artifacts.registry.versions import RegisteredVersion
from artifacts.registry.weights import LocalWeights
from artifacts.store.data_dir import DataDir
from artifacts.store.process import this_process
from artifacts.tracking.archive import Archive
from artifacts.tracking.named import TRACKING
from artifacts.unsent.owned import OWNER
from flows.cli.parser import main
from flows.cli.terminal import Terminal
from flows.gate import _alone, roll_back
from schemas.errors import RefusedError, ThreeLoopsError
from tasks.runtime.progress import Message
from tasks.runtime.runtime import Runtime, process_runtime
from tests.flows.promotion.conftest import VERSION, Learn, Run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _shared_mlflow(tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = shutil.copy(empty_database, tmp_path / "shared.db")
    monkeypatch.setenv(TRACKING, f"sqlite:///{shared}")


def test_a_gate_waits_for_that_of_another_data_folder(tmp_path: Path) -> None:
    other, runtime = Archive(DataDir(tmp_path / "other")), Runtime(DataDir(tmp_path / "home"))
    waits, said, ended = threading.Event(), list[str](), list[str]()

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    def ask() -> None:
        with pytest.raises(ThreeLoopsError) as refused:
            roll_back(runtime, "nothing", "", "why not")
        ended.append(str(refused.value))

    with (
        runtime.progress.listening(
            lambda event: say(event.text) if isinstance(event, Message) else None
        ),
        turn_in_registry(other.tracking, "gate", say),
    ):
        thread = threading.Thread(target=ask)
        thread.start()
        assert waits.wait(60)
        assert not ended
    thread.join()
    assert said[0].startswith("waiting for another decision of the gate, of another machine or da")
    assert len(ended) == 1


@pytest.mark.parametrize("arguments", [[VERSION], ["models:/m", "--rollback", "--reason", "why"]])
def test_a_command_says_on_stderr_for_whom_its_gate_waits(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no(*_: object) -> NoReturn:
        raise RefusedError("nobody is asked here")

    version = RegisteredVersion("threeloops", "1", LocalWeights(tmp_path), "d" * 64, "")
    monkeypatch.setattr("artifacts.registry.versions.registered_version", lambda *_: version)
    monkeypatch.setattr("flows.gate.decide", no)
    monkeypatch.setattr("flows.gate.decide_rollback", no)
    other, said = Archive(DataDir(tmp_path / "other")), list[str]()
    before = Terminal.note
    with contextlib.ExitStack() as turn:

        def note(terminal: Terminal, line: str) -> None:
            said.append(line)
            before(terminal, line)
            if line.startswith("waiting for another decision of the gate, of another machine or "):
                turn.close()

        monkeypatch.setattr(Terminal, "note", note)
        turn.enter_context(turn_in_registry(other.tracking, "gate", print))
        late = threading.Timer(30, turn.close)  # a command that says nothing waits for ever
        late.start()
        assert main(["promote", *arguments]) == 1
        late.cancel()
    (line,) = (one for one in said if one.startswith("waiting for"))
    assert line.endswith(f" data folder ({this_process()})")
    assert line in capsys.readouterr().err.splitlines()


def test_the_data_folder_whose_own_database_another_one_names_takes_turns_with_it(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = DataDir(tmp_path / "own"), DataDir(tmp_path / "other")
    own.root.mkdir()
    shutil.copy(empty_database, own.tracking_database)
    (tmp_path / "linked").symlink_to(own.root)
    waits, entered = threading.Event(), threading.Event()
    for name, first, second in (
        ("own", own, other), ("own", other, own), ("linked", own, other)
    ):  # fmt: skip
        monkeypatch.setenv(TRACKING, f"sqlite:///{tmp_path / name / 'mlflow.db'}")
        waits.clear()
        entered.clear()
        runtime = Runtime(second)
        said: list[str] = []

        def hear(event: object, said: list[str] = said) -> None:
            assert isinstance(event, Message)
            said.append(event.text)
            waits.set()

        def ask(runtime: Runtime = runtime) -> None:
            with _alone(runtime):
                entered.set()

        with runtime.progress.listening(hear), _alone(Runtime(first)):
            thread = threading.Thread(target=ask)
            thread.start()
            assert waits.wait(20)
            assert not entered.is_set()
            (line,) = said
            assert line == f"waiting for another decision of the gate (process {os.getpid()})"
        thread.join()
        assert entered.is_set()
    assert not (other.locks / "gate.lock").exists()


def test_a_promotion_that_another_machine_was_killed_in_is_finished_here(
    learn: Learn, promote: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    learn(0.25, 0.9)
    with monkeypatch.context() as patched:
        patched.setattr("artifacts.promotion.decisions.settle", killed)
        assert main(["promote", VERSION]) == 130
    archive = process_runtime().archive
    client = archive.tracking.client
    (run,) = (one for one in archive.history.mlflow_runs() if one.info.status == "KILLED")
    client.set_tag(run.info.run_id, OWNER, "another:1 17 1.0")
    client.update_run(run.info.run_id, status="RUNNING")
    assert promote(VERSION)["promoted"]
    (decided,) = all_decisions(archive.history)
    assert (decided.run_id, decided.decision) == (run.info.run_id, "promoted")
