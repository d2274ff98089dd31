"""Send what MLflow was not told, in the order in which it happened, each record once.

A run or model that was begun without the server gets the server's id now. Our own stands in later
records, in names of folders and in texts of the run, and is replaced there; it stays a tag.
"""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from artifacts.store.data_dir import DataDir
from artifacts.store.shared.objects import Objects
from artifacts.unsent.answers import UnreachableError, asked, reason, status_of
from artifacts.unsent.calls import gone, make
from artifacts.unsent.journal import (
    COPIES,
    RECORDS,
    SENT,
    Journal,
    Kept,
    Record,
    claimed,
    copies_lock,
    delete_kept,
    read_kept,
    read_sent,
    refusal,
    unsent_files,
    unsent_folder,
)
from artifacts.unsent.names import rename_in_texts, renamed, take_name, with_file
from artifacts.unsent.owned import RunOwners
from artifacts.unsent.refusals import explained
from artifacts.unsent.servers import Server, without_password
from schemas.errors import InputError, ThreeLoopsError

if TYPE_CHECKING:
    from mlflow import MlflowClient

TO = "mlflow"
PATIENCE = 5.0  # seconds for a server that has just answered


class NotTakenError(InputError):
    """MLflow refuses a call, and what it is for is there; or what it is to be given is missing."""


@dataclass
class Outcome:
    """What was sent, by kind of call; how many records are left, and why.

    `gone` counts the records that nobody needs any more, by why: what was deleted on MLflow's
    page, or that another process has gone on with a run.
    `elsewhere` are those of the ones left that are for another server than the one in use.
    """

    sent: Counter[str] = field(default_factory=Counter)
    gone: Counter[str] = field(default_factory=Counter)
    left: int = 0
    elsewhere: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def missing(self) -> int:
        """How many records the server in use lacks."""
        return self.left - self.elsewhere

    def leave(self, records: int, reason: str) -> None:
        """Some records stay for another time."""
        self.left += records
        if reason not in self.reasons:
            self.reasons.append(reason)


@dataclass(frozen=True)
class _Place:
    """Where runs have their names: in MLflow, in the data folder, and in a shared store."""

    client: MlflowClient
    data_dir: DataDir
    shared: Objects | None

    @cached_property
    def owners(self) -> RunOwners:
        """Who has the runs now."""
        return RunOwners(self.client)


def send_to_mlflow(
    client: MlflowClient | None,
    data_dir: DataDir,
    server: Server,
    seconds: float,
    shared: Objects | None = None,
) -> Outcome:
    """Send what is kept for an MLflow server, within some seconds.

    Without a client nothing is sent, only counted. Files that a process goes on writing wait for
    its end. One process sends at a time. `shared` is the store that the data folder shares.
    """
    outcome = Outcome()
    place = None if client is None else _Place(client, data_dir, shared)
    if not unsent_files(data_dir, TO):
        return outcome
    data_dir.locks.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    try:
        with FileLock(data_dir.locks / "unsent.lock", timeout=min(seconds, 600)):
            for path in unsent_files(data_dir, TO):
                try:
                    with claimed(path) as mine:
                        _send_file(place, path, (server, mine, until), outcome)
                except FileNotFoundError:
                    if path.exists():
                        raise  # another file is missing
                except ThreeLoopsError as error:
                    outcome.leave(1, str(error))
            with copies_lock(data_dir):
                if not list(unsent_folder(data_dir).glob(f"*{RECORDS}")):
                    shutil.rmtree(unsent_folder(data_dir) / COPIES, ignore_errors=True)
    except Timeout:
        outcome.leave(1, "another command is sending it")
    return outcome


def _send_file(
    place: _Place | None,
    path: Path,
    about: tuple[Server, bool, float],
    outcome: Outcome,
) -> None:
    """Send a file, or say why not; `about`: for whom, whether we hold its lock, until when."""
    server, mine, until = about
    kept = read_kept(path)
    if not kept.records:
        if mine:
            delete_kept(path)
        return
    done, names = read_sent(path)
    waiting = len(kept.records) - done
    if not server.is_meant_by(kept):
        outcome.leave(
            waiting,
            f"{path} is for MLflow at {kept.address}; use that server, or move the file away and "
            "go on without",
        )
        outcome.elsewhere += waiting
    elif not mine and kept.is_own:
        outcome.leave(waiting, f"MLflow does not answer at {without_password(server.address)}")
    elif not mine:
        outcome.leave(waiting, f"the command that writes {path} goes on")
    elif place is None:
        why = refusal(path)
        outcome.leave(
            waiting,
            _refused(path, why) if why else f"{path} waits for {without_password(server.address)}",
        )
    else:
        _send_records(place, kept, (done, names), until, outcome)


def _send_records(
    place: _Place,
    kept: Kept,
    begun: tuple[int, dict[str, str]],
    until: float,
    outcome: Outcome,
) -> None:
    done, names = begun
    progress = Journal(kept.path.with_suffix(SENT))
    try:
        for number, record in enumerate(kept.records[done:], start=done + 1):
            left = len(kept.records) - number + 1
            if time.monotonic() > until:
                outcome.leave(left, f"{kept.path} takes longer to send")
                return
            try:
                # its writer, or a sender that was killed, may have made this call and no later one
                added = _send(place, record, names, again=number == done + 1)
            except NotTakenError as error:
                if refusal(kept.path) != error.what:
                    progress.keep({"sent": number - 1, "names": {}, "refused": error.what})
                outcome.leave(left, _refused(kept.path, error.what))
                return
            except InputError as error:
                outcome.leave(left, f"{error.what}; it is kept in {kept.path}")
                return
            if isinstance(added, str):
                outcome.gone[added] += 1
                added = {}
            else:
                outcome.sent[record["call"]] += 1
            names |= added
            progress.keep({"sent": number, "names": added})
    finally:
        progress.close()
    rename_in_texts(place.data_dir, kept, names)
    delete_kept(kept.path)


def _send(
    place: _Place, record: Record, names: Mapping[str, str], *, again: bool
) -> dict[str, str] | str:
    """Make one call; returns the server's name for what it made, by ours.

    Returns in words what it was for, where that was deleted or is another process's. InputError
    where it cannot be made: NotTakenError where MLflow has another reason.
    """
    words = json.loads(renamed(json.dumps(record), names))
    call, client = words.pop("call"), place.client
    try:
        if place.owners.went_to_another(call, words):
            return "for a run that another process went on with"
        with with_file(place.data_dir, words, names):
            made = asked(lambda before: make(client, call, words, again=again or before), PATIENCE)
    except FileNotFoundError:
        raise NotTakenError(f"{words['file']}, which MLflow is to keep, is missing") from None
    except UnreachableError as error:
        if "file" in words and _answers(client):  # it cannot keep this file, and does all else
            what = f"MLflow fails to {call} {words['name']} ({reason(error)})"
            raise NotTakenError(what) from error
        raise
    except ThreeLoopsError:
        raise
    except Exception as error:  # of MLflow, of HTTP where files go, or of a store's own client
        if isinstance(error, OSError) and status_of(error) is None:
            raise  # of this machine, such as a full disk
        if what := _gone(client, words):
            return f"for a {what} that was deleted"
        raise NotTakenError(f"MLflow refuses to {call} ({explained(error)[0]})") from error
    if "id" not in words:
        return {}
    theirs = take_name(place.data_dir, call, words["id"], made, place.shared)
    return {words["id"]: theirs}


def _refused(path: Path, why: str) -> str:
    return (
        f"{why}; it is kept in {path}: put that right and run `threeloops sync`, or `threeloops "
        "doctor --repair` sets the file aside and MLflow never gets it"
    )


def _gone(client: MlflowClient, words: Mapping[str, object]) -> str:
    from mlflow.exceptions import MlflowException

    try:
        return asked(lambda again: gone(client, words), PATIENCE)
    except MlflowException:
        return ""


def _answers(client: MlflowClient) -> bool:
    """Whether a server that failed at something answers at all."""
    try:
        asked(lambda again: client.search_experiments(max_results=1), patience=0)
    except UnreachableError:
        return False
    return True
