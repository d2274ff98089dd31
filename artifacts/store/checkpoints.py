"""Checkpoints of a learning run: the learner's state beside the references that it belongs to.

Each has the digests of its files. A damaged one is passed over, with one line that says so.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from artifacts.store.atomic_file import write_atomic
from artifacts.store.data_dir import DataDir
from artifacts.store.shared.checkpoints import RECORD, SharedCheckpoints
from artifacts.store.shared.objects import Objects
from policy.files.atomic_folder import being_written, remove_unless_written
from schemas.errors import InputError, StoreError
from schemas.files import is_file
from schemas.frozen import Frozen
from schemas.identity import file_digest
from schemas.references import PolicyRef, TableRef

SHOWN = 12  # characters of a digest in a message


class CheckpointRecord(Frozen):
    """Which policy and which step's table a checkpoint is at, and what its files were.

    - `training`: the table of the newest step; of an earlier version, the training table.
    - `start`: the digest of the policy that the run started from.
    - `numerics`: what computed the steps (`policy.model.numerics`).
    - `files`: the digests of the files below its folder, by path.

    Earlier versions wrote none of the three.
    """

    policy: PolicyRef
    training: TableRef
    start: str = ""
    numerics: str = ""
    files: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are those that were written, and where it lies."""

    folder: Path
    record: CheckpointRecord


Warn = Callable[[str], None]
Check = Callable[[CheckpointRecord], object]


def _say_nothing(line: str) -> None:
    """The default for those who only ask whether there is one."""


def _accept(record: CheckpointRecord) -> None:
    """The default: what is not damaged can be used."""


def checkpoint_folder(data_dir: DataDir, run_id: str, step: int) -> Path:
    """Where the checkpoint of one step of a run lies."""
    return data_dir.checkpoints / run_id / f"step-{step:06d}"


def write_checkpoint(
    folder: Path,
    save_learner: Callable[[Path], None],
    at: CheckpointRecord,
    *,
    keep: int = 0,
    shared: Objects | None = None,
    still_ours: Callable[[], object] = lambda: None,
) -> None:
    """Write a checkpoint, then delete those of the same run before the one before.

    With `keep`, the newest so many stay. `at` is its record without the files. With a shared store
    it is there too, so that another machine can go on from it; `still_ours` raises where that has
    happened meanwhile (see `SharedCheckpoints.send`).

    The record is written last: a folder without one is not a checkpoint. The one before stays,
    because only the next step measures whether the policy of this one is sound.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with being_written(folder):
        save_learner(folder / "learner")
        written = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): file_digest(path) for path in written}
        record = at.model_copy(update={"files": files})
        write_atomic(folder / RECORD, record.model_dump_json(indent=1).encode())
    if shared is not None:
        there, most = SharedCheckpoints(shared, folder.parent), max(1, keep - 1) + 1
        there.send(folder, keep=most, still_ours=still_ours)
    before = [other for other in _whole_checkpoints(folder.parent) if other < folder]
    for other in folder.parent.iterdir():
        if other not in (folder, *before[-max(1, keep - 1) :]):
            remove_unless_written(other)  # its lock tells others that it is going


def read_checkpoint(folder: Path) -> CheckpointRecord:
    """The record of a checkpoint; StoreError where it or one of its files is damaged."""
    path = folder / RECORD
    try:
        record = CheckpointRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise StoreError("is no record of a checkpoint", str(path), "delete the folder") from None
    for name, expected in (record.files or {}).items():
        try:  # a name may be of a device, which never ends, or one that no file can have
            found = file_digest(folder / name) if is_file(folder / name) else "none"
        except OSError:
            found = "none"
        if found != expected:
            raise StoreError(
                "was changed after it was written "
                f"(expected {expected[:SHOWN]}, found {found[:SHOWN]})",
                str(folder / name),
                "delete the checkpoint",
            )
    return record


def _read_here(folder: Path, shared: Objects | None) -> CheckpointRecord:
    """As `read_checkpoint`, of one that is fetched where it is not here as it was written."""
    there = None if shared is None else SharedCheckpoints(shared, folder.parent)
    if there is not None and not there.is_here(folder):
        there.fetch(folder)
        return read_checkpoint(folder)
    try:
        return read_checkpoint(folder)
    except StoreError:
        if there is None or not there.fetch(folder):
            raise
    return read_checkpoint(folder)


def newest_checkpoint(
    data_dir: DataDir,
    run_id: str,
    warn: Warn = _say_nothing,
    check: Check = _accept,
    shared: Objects | None = None,
) -> Checkpoint:
    """The newest checkpoint of a run that is not damaged; InputError when it has none.

    `check` raises StoreError for one that cannot be used for another reason. For each that is
    passed over, `warn` gets one line. Where a shared store has checkpoints of the run, they are
    the ones that count, and those that are not here are fetched; so does a newer one of this
    machine that was not sent, where no other machine has gone on since.
    """
    of_run = data_dir.checkpoints / run_id
    whole = _whole_checkpoints(of_run, shared)
    where, remedy = f"--resume {run_id}", "start again without --resume"
    if not whole:
        raise InputError("the run has no checkpoint", where, remedy)
    try:
        return _newest_usable(whole, warn, check, shared)
    except StoreError as fault:
        what = f"none of its checkpoints can be used; {fault.where}: {fault.what}"
        raise InputError(what, where, remedy) from None


def checkpoint_within(
    data_dir: DataDir,
    run_id: str,
    step: int,
    warn: Warn = _say_nothing,
    check: Check = _accept,
    shared: Objects | None = None,
) -> Checkpoint | None:
    """As `newest_checkpoint`, up to a step, or None; later ones are deleted."""
    last = checkpoint_folder(data_dir, run_id, step)
    whole = _whole_checkpoints(last.parent, shared)
    for later in (folder for folder in whole if folder > last):
        if shared is not None:
            SharedCheckpoints(shared, last.parent).drop(later)
        shutil.rmtree(later, ignore_errors=shared is not None)  # it may never have been here
    try:
        return _newest_usable([folder for folder in whole if folder <= last], warn, check, shared)
    except StoreError:
        return None


def drop_checkpoints(
    data_dir: DataDir, run_id: str, shared: Objects | None = None, *, keep: int = 0
) -> None:
    """Delete a run's checkpoints but for the newest `keep`; its result is kept elsewhere.

    The record goes first: a folder without one is never read, and a process that is killed in
    between leaves it to the next command.
    """
    of_run = data_dir.checkpoints / run_id
    kept = _whole_checkpoints(of_run, shared)[-keep:] if keep else []
    if shared is not None:
        there = SharedCheckpoints(shared, of_run)
        there.keep_only(there.folders()[-keep:] if keep else [])
    for folder in of_run.glob("*"):
        if folder not in kept:
            (folder / RECORD).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
    if not kept:
        shutil.rmtree(of_run, ignore_errors=True)


def rename_checkpoints(
    data_dir: DataDir, ours: str, theirs: str, shared: Objects | None = None
) -> None:
    """Let a run have its checkpoints under another id, here and in the shared store.

    A store has no renaming: what it has is brought here, sent under the new id, and only then
    deleted under the former one. Doing it again after a stop on the way comes to the same end.
    """
    before, now = data_dir.checkpoints / ours, data_dir.checkpoints / theirs
    there = () if shared is None else SharedCheckpoints(shared, before).folders()
    for folder in there:
        if not (now / folder.name).is_dir():
            with contextlib.suppress(StoreError):  # nobody could go on from a damaged one
                _read_here(folder, shared)
    if before.is_dir():
        now.mkdir(parents=True, exist_ok=True)
        for folder in before.iterdir():
            if not (now / folder.name).exists():
                folder.rename(now / folder.name)
        with contextlib.suppress(OSError):  # it is not empty: what lies in there was here twice
            before.rmdir()
    if shared is not None:
        for folder in there:
            if (here := now / folder.name).is_dir():
                SharedCheckpoints(shared, now).add(here)
        SharedCheckpoints(shared, before).keep_only(())


def _whole_checkpoints(of_run: Path, shared: Objects | None = None) -> list[Path]:
    """The folders of a run's checkpoints, the newest last; of a shared store's, where they go.

    A newer one that is here alone counts too, as sending it may have failed; but not where another
    machine has gone on since: then the newest in the store is none that is here.
    """
    here = sorted(record.parent for record in of_run.glob(f"step-*/{RECORD}"))
    if shared is None or not (sent := (there := SharedCheckpoints(shared, of_run)).folders()):
        return here
    later = [folder for folder in here if folder > sent[-1]]
    return [*sent, *later] if later and there.is_here(sent[-1]) else sent


def _newest_usable(
    folders: Sequence[Path], warn: Warn, check: Check, shared: Objects | None = None
) -> Checkpoint:
    """The last of these folders that can be used; StoreError with the newest fault if none can."""
    newest = StoreError("there is no checkpoint")
    for folder in reversed(folders):
        try:
            record = _read_here(folder, shared)
            check(record)
        except StoreError as fault:
            warn(f"warning: {fault.where}: {fault.what}; this checkpoint is not used")
            newest = fault if folder == folders[-1] else newest
            continue
        if record.files is None:
            warn(
                f"warning: {folder} was written by an earlier version and has no digests of its "
                "files; whether they have changed is not known"
            )
        return Checkpoint(folder, record)
    raise newest
