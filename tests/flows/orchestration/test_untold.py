"""What is kept for Prefect is told by one command at a time, to the server that it is for."""

from __future__ import annotations

from typing import Any

import pytest
from filelock import FileLock
from prefect.settings import (
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    temporary_settings,
)

from artifacts.store.data_dir import DataDir
from artifacts.unsent.journal import begin_journal, read_kept, unsent_files
from artifacts.unsent.send import Outcome
from artifacts.unsent.servers import same_address
from flows.orchestration import untold
from flows.orchestration.prefect_database import database_url
from flows.orchestration.untold import TO, keep_end, kept_for, prefect_address, tell_prefect
from tasks.runtime.runtime import Runtime

API = "http://127.0.0.1:9/api"
RECORD = {"call": "end flow run", "flow_run": "f", "state": "FAILED", "message": "", "at": ""}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a server at API was told: the flow runs."""
    ids: list[str] = []

    def takes(records: tuple[dict[str, Any], ...], outcome: Outcome, where: str) -> bool:
        ids.extend(record["flow_run"] for record in records)
        outcome.sent["end flow run"] += len(records)
        return True

    monkeypatch.setenv("PREFECT_API_URL", API)
    monkeypatch.setattr(untold, "_told", takes)
    return ids


def test_what_a_command_is_writing_is_left_to_it(data_dir: DataDir, told: list[str]) -> None:
    journal = begin_journal(data_dir, TO, API)
    assert tell_prefect(data_dir, Outcome(), reachable=True) == Outcome(), "nothing is kept yet"
    assert journal.path.exists()
    journal.keep(RECORD)
    outcome = tell_prefect(data_dir, Outcome(), reachable=True)
    assert (outcome.left, outcome.reasons) == (
        1,
        [f"the command that writes {journal.path} goes on"],
    )
    journal.close()
    outcome = tell_prefect(data_dir, Outcome(), reachable=True)
    assert (outcome.left, outcome.sent.total(), told) == (0, 1, ["f"])
    assert unsent_files(data_dir, TO) == []


def test_another_command_that_is_telling_it_is_no_reason_to_say_that_all_was_sent(
    data_dir: DataDir, told: list[str]
) -> None:
    journal = begin_journal(data_dir, TO, API)
    journal.keep(RECORD)
    journal.close()
    data_dir.locks.mkdir()
    with FileLock(data_dir.locks / "untold.lock"):
        outcome = tell_prefect(data_dir, Outcome(), reachable=True)
    assert (outcome.left, outcome.reasons) == (1, ["another command is telling it"])
    assert told == []


def test_a_file_that_was_told_meanwhile_is_passed_over(
    data_dir: DataDir, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = begin_journal(data_dir, TO, API)
    journal.keep(RECORD)
    journal.close()
    gone = journal.path.with_name(f"0-gone-{TO}.jsonl")
    monkeypatch.setattr(untold, "unsent_files", lambda *_: [gone, journal.path])
    assert kept_for(data_dir, f"{API}/"), "written in another way"
    assert not kept_for(data_dir, "http://127.0.0.1:8/api")
    outcome = tell_prefect(data_dir, Outcome(), reachable=True)
    assert (outcome.left, told) == (0, ["f"])


def test_a_file_without_its_first_line_is_deleted(data_dir: DataDir, told: list[str]) -> None:
    journal = begin_journal(data_dir, TO, API)
    journal.close()
    journal.path.write_bytes(b"")
    assert tell_prefect(data_dir, Outcome(), reachable=False) == Outcome()
    assert unsent_files(data_dir, TO) == []


def test_the_database_that_the_user_named_is_another_server_than_the_folders_own(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    own = database_url(data_dir.prefect / "prefect.db")
    named = "postgresql+asyncpg://me:secret@db.example/prefect"
    with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: own}):
        assert prefect_address(data_dir) == "own", "as earlier versions wrote, also once moved"
    with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: named}):
        assert prefect_address(data_dir) == "own:postgresql+asyncpg://db.example/prefect"
        assert same_address(
            prefect_address(data_dir), "own:postgresql+asyncpg://me@db.example/prefect"
        ), "as earlier versions kept it"
        keep_end(Runtime(data_dir), "f", None)
        (path,) = unsent_files(data_dir, TO)
        assert kept_for(data_dir, prefect_address(data_dir))
        assert b"secret" not in path.read_bytes()
        assert not read_kept(path).in_use
    with temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: own}):
        assert not kept_for(data_dir, prefect_address(data_dir))
        outcome = tell_prefect(data_dir, Outcome(), reachable=True)
        assert outcome.left == 1
        assert "is for Prefect at own:postgresql" in outcome.reasons[0]
