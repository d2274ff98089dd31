"""A run whose process is gone is closed in the data folder's own database, as a command does it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from artifacts.doctor.recorded import named
from artifacts.doctor.snapshot import WAIT
from artifacts.store.process import is_gone
from artifacts.tracking.connection import TAG
from artifacts.tracking.owner import CUT_OFF
from artifacts.unsent.owned import OWNER

RUN_NAME = "mlflow.runName"  # MLflow keeps a run's name a second time, as this tag


def close_dead(database: Path, run_id: str) -> bool:
    """End a run as killed, if its process is gone at this moment; whether it was ended.

    It does what `close_abandoned` does, in one transaction: opening MLflow would migrate the
    database, delete what killed commands left, and send what a server was not told. Raises
    sqlite3.Error where another command writes for longer than some seconds.
    """
    with _changed(database) as connection:
        found = connection.execute(
            "select name from runs where run_uuid = ? and status = 'RUNNING' "
            "and lifecycle_stage = 'active'",
            (run_id,),
        ).fetchone()
        owner = connection.execute(
            "select value from tags where run_uuid = ? and key = ?", (run_id, OWNER)
        ).fetchone()
        if found is None or owner is None or not is_gone(str(owner[0])):
            return False
        name, now = named(str(found[0] or "run"), run_id), time.time_ns() // 1_000_000
        connection.execute(
            "update runs set status = 'KILLED', name = ?, end_time = ? where run_uuid = ?",
            (name, now, run_id),
        )
        connection.executemany(
            "insert or replace into tags (run_uuid, key, value) values (?, ?, ?)",
            [(run_id, f"{TAG}error", CUT_OFF), (run_id, RUN_NAME, name)],
        )
        return True


@contextmanager
def _changed(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a database that is there; what the block writes is kept whole or not."""
    address = f"file:{quote(str(database))}?mode=rw"
    with closing(
        sqlite3.connect(address, uri=True, timeout=WAIT, isolation_level=None)
    ) as connection:
        connection.execute("begin immediate")
        try:
            yield connection
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")
