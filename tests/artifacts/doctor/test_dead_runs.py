"""A run whose process is gone is closed as a command closes it, and nothing else is changed."""

from __future__ import annotations

import platform
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from artifacts.doctor import dead_runs
from artifacts.doctor.dead_runs import close_dead
from artifacts.doctor.examination import Examination, Found
from artifacts.doctor.runs import check_runs
from artifacts.store.data_dir import DataDir
from artifacts.store.process import this_process
from artifacts.tracking.archive import Archive
from artifacts.tracking.named import SERVER
from artifacts.tracking.owner import close_abandoned
from artifacts.unsent.owned import OWNER

Look = Callable[[], Examination]
Repaired = Callable[[Iterable[Found]], list[str | None]]
GONE = f"{platform.node()} 999999999 5.0"


def _run(archive: Archive, owner: str, name: str = "eval") -> str:
    tags = {"threeloops.loop": "A", OWNER: owner}
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    return str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)


def _content(database: Path) -> dict[str, list[str]]:
    """Every row of every table; the time of a run's end as whether there is one."""
    with closing(sqlite3.connect(database)) as connection:
        tables = [name for (name,) in connection.execute("select name from sqlite_master "
                                                         "where type = 'table'")]  # fmt: skip
        connection.execute("update runs set end_time = 1 where end_time is not null")
        return {
            name: sorted(map(repr, connection.execute(f"select * from {name}"))) for name in tables
        }


@pytest.mark.parametrize("name", ["eval", "named"])
def test_it_is_closed_as_the_next_command_would_close_it(
    name: str, archive: Archive, tmp_path: Path
) -> None:
    run_id = _run(archive, GONE, name)
    if name == "named":
        archive.tracking.client.update_run(run_id, name=f"eval-{run_id[:6]}")
    database, other = archive.data_dir.tracking_database, tmp_path / "other.db"
    shutil.copy(database, other)
    assert close_dead(other, run_id)
    assert close_abandoned(archive.tracking.client, archive.tracking.experiment_id) == [
        f"eval-{run_id[:6]}"
    ]
    assert _content(other) == _content(database)
    with closing(sqlite3.connect(other)) as connection:
        assert connection.execute(
            "select status, name from runs where run_uuid = ?", (run_id,)
        ).fetchone() == ("KILLED", f"eval-{run_id[:6]}")


def test_one_that_goes_on_or_has_ended_is_left_as_it_is(archive: Archive) -> None:
    client, database = archive.tracking.client, archive.data_dir.tracking_database
    mine, ended, deleted = (_run(archive, owner) for owner in (this_process(), GONE, GONE))
    client.set_terminated(ended, "FINISHED")
    client.delete_run(deleted)
    before = _content(database)
    assert not any(close_dead(database, one) for one in (mine, ended, deleted, "none"))
    assert _content(database) == before


def test_nothing_else_is_tidied_sent_or_asked(
    archive: Archive,
    look: Look,
    repaired: Repaired,
    data_dir: DataDir,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _run(archive, GONE)
    left = data_dir.tables / "scores" / f".writing-{GONE.replace(' ', '%20')}~abc"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    (data_dir.models / ".thing.partial").mkdir(parents=True)
    monkeypatch.setenv(SERVER, "http://127.0.0.1:9")
    found = [one for one in check_runs(look()) if one.finding.name == "dead-run"]
    assert repaired(found) == ["closed; it is listed as killed from now on"]
    assert left.exists()
    assert (data_dir.models / ".thing.partial").exists()
    assert repaired(found) == [None]


def test_it_waits_seconds_for_another_writer_and_then_says_so(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_runs, "WAIT", 0.1)
    run_id, database = _run(archive, GONE), archive.data_dir.tracking_database
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("begin immediate")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            close_dead(database, run_id)
    assert close_dead(database, run_id)


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        close_dead(tmp_path / "none.db", "run")
    assert list(tmp_path.iterdir()) == []
