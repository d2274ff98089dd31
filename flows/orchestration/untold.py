"""How flow runs ended that Prefect's server could not be told: kept, and told once."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from filelock import FileLock, Timeout

from artifacts.store.data_dir import DataDir
from artifacts.text.secrets import without_secrets
from artifacts.text.visible import printable
from artifacts.unsent.journal import (
    Record,
    begin_journal,
    claimed,
    delete_kept,
    read_kept,
    unsent_files,
)
from artifacts.unsent.send import Outcome
from artifacts.unsent.servers import same_address, without_password
from flows.orchestration.prefect_database import database_url
from schemas.errors import ThreeLoopsError
from tasks.runtime.runtime import Runtime

TO = "prefect"
# the database in the data folder, whichever command's server has it; one that the user named
# follows after a colon
OWN = "own"
LONGEST = 2000  # characters of a message
STATES = {"COMPLETED": "Completed", "FAILED": "Failed", "CRASHED": "Crashed"}


def prefect_address(data_dir: DataDir) -> str:
    """The server that this process uses, in a form that a later command compares."""
    if url := os.environ.get("PREFECT_API_URL"):
        return url
    from prefect.settings import get_current_settings

    secret = get_current_settings().server.database.connection_url
    database = secret.get_secret_value() if secret else ""
    if database == database_url(data_dir.prefect / "prefect.db"):
        return OWN
    return f"{OWN}:{without_password(database)}"


def keep_end(runtime: Runtime, flow_run: str, error: BaseException | None) -> None:
    """Keep how a flow run ended, and say so in one line."""
    if not flow_run:
        return
    kind = "COMPLETED" if error is None else "FAILED" if isinstance(error, Exception) else "CRASHED"
    told = f"{type(error).__name__}: {error}" if error is not None else ""
    message = printable(without_secrets(told))
    record = {
        "call": "end flow run",
        "flow_run": flow_run,
        "state": kind,
        "message": message[:LONGEST],
        "at": datetime.now(UTC).isoformat(),
    }
    try:
        address = without_password(prefect_address(runtime.data_dir))
        journal = begin_journal(runtime.data_dir, TO, address)
        with contextlib.closing(journal):
            journal.keep(record)
    except OSError as failed:  # the result matters more
        runtime.progress.log_message(
            f"warning: how the flow run ended could not be kept for Prefect ({failed.strerror})"
        )
        return
    runtime.progress.log_message(
        "how the flow run ended could not be told to Prefect; it is kept in "
        f"{journal.path}, and the next command with this server or `threeloops sync` tells it"
    )


def kept_for(data_dir: DataDir, address: str) -> bool:
    """Whether something is kept for a server."""
    for path in unsent_files(data_dir, TO):
        try:
            if same_address(read_kept(path).address, address):
                return True
        except FileNotFoundError:  # it was told meanwhile
            continue
        except ThreeLoopsError:  # it is damaged: whoever tells says so
            return True
    return False


def tell_prefect(data_dir: DataDir, outcome: Outcome, *, reachable: bool) -> Outcome:
    """Tell the server of this process what is kept for it.

    A flow run that has ended there was told before, and one that it does not know belongs to a
    server that is gone; both are done. Without the server everything is counted as left.
    """
    data_dir.locks.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(data_dir.locks / "untold.lock", timeout=0):
            for path in unsent_files(data_dir, TO):
                try:
                    with claimed(path) as mine:
                        _tell_file(data_dir, path, outcome, mine=mine, reachable=reachable)
                except FileNotFoundError:  # it was told meanwhile
                    continue
                except ThreeLoopsError as error:
                    outcome.leave(1, str(error))
    except Timeout:
        outcome.leave(1, "another command is telling it")
    return outcome


def _tell_file(
    data_dir: DataDir, path: Path, outcome: Outcome, *, mine: bool, reachable: bool
) -> None:
    kept = read_kept(path)
    count = len(kept.records)
    if not count:
        if mine:
            delete_kept(path)
    elif not same_address(kept.address, prefect_address(data_dir)):
        outcome.leave(count, f"{path} is for Prefect at {kept.address}")
    elif not mine:
        outcome.leave(count, f"the command that writes {path} goes on")
    elif not reachable:
        outcome.leave(count, f"Prefect does not answer; {path} is for it")
    elif _told(kept.records, outcome, str(path)):
        delete_kept(path)


def _told(records: tuple[Record, ...], outcome: Outcome, where: str) -> bool:
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            for record in records:
                outcome.sent[_tell(client, record)] += 1
    except Exception as error:  # whatever it is, it can be told another time
        outcome.leave(len(records), f"Prefect does not take {where} ({type(error).__name__})")
        return False
    return True


def _tell(client: object, record: Record) -> str:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import State, StateType
    from prefect.exceptions import ObjectNotFound

    assert isinstance(client, SyncPrefectClient)
    flow_run = UUID(record["flow_run"])
    try:
        now = client.read_flow_run(flow_run).state
    except ObjectNotFound:
        return "flow run that is gone"
    if now is not None and now.is_final():
        return "flow run that had ended"
    kind = record["state"]
    state = State(
        type=StateType(kind),
        name=STATES[kind],
        message=record["message"] or None,
        timestamp=datetime.fromisoformat(record["at"]),
    )
    client.set_flow_run_state(flow_run, state, force=True)
    return str(record["call"])
