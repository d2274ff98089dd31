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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from artifacts.store.atomic_file import write_atomic
from artifacts.store.data_dir import DataDir
from artifacts.store.policy_folders import PolicyFolders
from artifacts.unsent.answers import asked
from artifacts.unsent.calls import make
from artifacts.unsent.journal import (
    COPIES,
    RECORDS,
    SENT,
    Journal,
    Kept,
    Record,
    delete_kept,
    read_kept,
    read_sent,
    unsent_files,
    unsent_folder,
)
from schemas.errors import InputError, ThreeLoopsError

if TYPE_CHECKING:
    from mlflow import MlflowClient

TO = "mlflow"
TEXTS = {".json", ".html", ".md", ".txt", ".yaml", ""}  # files in which our ids are replaced
PATIENCE = 5.0  # seconds for a server that has just answered


@dataclass
class Outcome:
    """What was sent, by kind of call; how many records are left, and why.

    `elsewhere` are those of them that are for another server than the one in use.
    """

    sent: Counter[str] = field(default_factory=Counter)
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


def send_to_mlflow(
    client: MlflowClient | None, data_dir: DataDir, address: str, seconds: float
) -> Outcome:
    """Send what is kept for the MLflow at an address, within some seconds.

    Without a client nothing is sent, only counted. Files that a process goes on writing wait for
    its end. One process sends at a time.
    """
    outcome = Outcome()
    if not unsent_files(data_dir, TO):
        return outcome
    data_dir.locks.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + seconds
    try:
        with FileLock(data_dir.locks / "unsent.lock", timeout=min(seconds, 600)):
            for path in unsent_files(data_dir, TO):
                try:
                    _send_file(client, data_dir, path, address, until, outcome)
                except ThreeLoopsError as error:
                    outcome.leave(1, str(error))
            if not list(unsent_folder(data_dir).glob(f"*{RECORDS}")):
                shutil.rmtree(unsent_folder(data_dir) / COPIES, ignore_errors=True)
    except Timeout:
        outcome.leave(1, "another command is sending it")
    return outcome


def _send_file(
    client: MlflowClient | None,
    data_dir: DataDir,
    path: Path,
    address: str,
    until: float,
    outcome: Outcome,
) -> None:
    kept = read_kept(path)
    if not kept.records and not kept.in_use:
        delete_kept(path)
        return
    done, names = read_sent(path)
    waiting = len(kept.records) - done
    if kept.address != address:
        outcome.leave(waiting, f"{path} is for MLflow at {kept.address}")
        outcome.elsewhere += waiting
    elif kept.in_use:
        outcome.leave(waiting, f"the command that writes {path} goes on")
    elif client is None:
        outcome.leave(waiting, f"MLflow does not answer at {address}")
    else:
        _send_records(client, data_dir, kept, (done, names), until, outcome)


def _send_records(
    client: MlflowClient,
    data_dir: DataDir,
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
                added = _send(client, data_dir, record, names)
            except InputError as error:
                outcome.leave(left, f"{error.what}; it is kept in {kept.path}")
                return
            names |= added
            progress.keep({"sent": number, "names": added})
            outcome.sent[record["call"]] += 1
    finally:
        progress.close()
    _rename_in_texts(data_dir, kept, names)
    delete_kept(kept.path)


def _send(
    client: MlflowClient, data_dir: DataDir, record: Record, names: Mapping[str, str]
) -> dict[str, str]:
    """Make one call; returns the server's name for what it made. InputError where it cannot be."""
    from mlflow.exceptions import MlflowException

    words = json.loads(_renamed(json.dumps(record), names))
    call = words.pop("call")
    if call == "keep file":
        words["file"] = str(data_dir.root / words["file"])
    try:
        made = asked(lambda again: make(client, call, words, again=True), PATIENCE)
    except MlflowException as error:
        raise InputError(f"MLflow refuses to {call} ({str(error).splitlines()[0]})") from error
    if "id" not in words:
        return {}
    return {words["id"]: _take_name(data_dir, call, words["id"], made)}


def _take_name(data_dir: DataDir, call: str, ours: str, made: Any) -> str:
    """The server's name for what we named ourselves; folders of that name are renamed."""
    if call == "register version":
        return str(made.version)
    artifacts = data_dir.run_artifacts
    if call == "create model":
        theirs = str(made.model_id)
        _rename(artifacts / "models" / ours, artifacts / "models" / theirs)
        return theirs
    theirs = str(made.info.run_id)
    _rename(artifacts / ours, artifacts / theirs)
    _rename(data_dir.checkpoints / ours, data_dir.checkpoints / theirs)
    return theirs


def _rename(before: Path, now: Path) -> None:
    if before.is_dir() and not now.exists():
        before.rename(now)


def _rename_in_texts(data_dir: DataDir, kept: Kept, names: Mapping[str, str]) -> None:
    if not names:
        return
    runs = {_renamed(str(record.get("run")), names) for record in kept.records}
    folders = [data_dir.run_artifacts / name for name in {*runs, *names.values()}]
    models = [data_dir.run_artifacts / "models" / name for name in names.values()]
    for folder in [*folders, *models]:
        for path in folder.rglob("*"):
            if path.suffix in TEXTS and path.is_file():
                _rename_in_text(path, names)
    remembered = PolicyFolders(data_dir)
    for model in models:
        if (model / "artifacts" / "config.json").exists():
            remembered.digest(model / "artifacts")  # it is found by its digest again


def _rename_in_text(path: Path, names: Mapping[str, str]) -> None:
    try:
        before = path.read_bytes().decode()
    except UnicodeDecodeError:
        return
    if (now := _renamed(before, names)) != before:
        write_atomic(path, now.encode())


def _renamed(text: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        text = text.replace(ours, theirs)
    return text
