"""Checkpoints: each file against the digest in its record, and whose they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from artifacts.doctor.examination import Examination, Found, Repair
from artifacts.store.checkpoints import CheckpointRecord
from artifacts.store.shared.checkpoints import RECORD
from policy.files.atomic_folder import is_written


def check_checkpoints(at: Examination) -> Iterator[Found]:
    """Every checkpoint that no process is writing.

    Whether one is being written says its lock: its run may be on a server, and is not known here.
    """
    for of_run in _folders_in(at.data_dir.checkpoints):
        if not os.access(of_run, os.R_OK | os.X_OK):
            yield at.found("unreadable-file", of_run, "you may not read it")
            continue
        run = at.recorded.runs.get(of_run.name) if at.recorded else None
        if run is not None and run.goes_on:
            continue
        if run is None and _is_nobodys(at, of_run):
            what = "no run has this id"
            yield at.found("checkpoint-of-no-run", of_run, what, _moved(at, of_run, _is_nobodys))
            continue
        for folder in _folders_in(of_run):
            at.count("checkpoints")
            found = _judged(at, folder)
            # a run may have been resumed meanwhile, and then deletes its older checkpoints
            if found is None or at.may_be_written(of_run.name) or is_written(folder):
                continue
            if (found := _judged(at, folder, again=True)) is None:
                continue  # it was finished meanwhile
            name, what = found
            is_old = name == "checkpoint-without-digests"
            yield at.found(name, folder, what, None if is_old else _moved(at, folder, _is_damaged))


def _folders_in(folder: Path) -> list[Path]:
    """The folders in a folder; none where it cannot be read, or has gone with its run's end."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _moved(at: Examination, folder: Path, still: Callable[[Examination, Path], bool]) -> Repair:
    return at.moved(folder, lambda: still(at, folder))


def _is_nobodys(at: Examination, of_run: Path) -> bool:
    """Whether checkpoints belong to no run, and none of them is being written."""
    return at.is_nobodys(of_run.name) and not any(map(is_written, _folders_in(of_run)))


def _is_damaged(at: Examination, folder: Path) -> bool:
    """Whether a checkpoint is damaged, read anew, and its run does not go on."""
    found = _judged(at, folder, again=True)
    return found is not None and not at.may_be_written(folder.parent.name)


def _judged(at: Examination, folder: Path, *, again: bool = False) -> tuple[str, str] | None:
    """What is wrong with a checkpoint, as a finding's name and words."""
    path = folder / RECORD
    if not path.exists():
        return "half-made-folder", "it is a checkpoint without its record, which is written last"
    try:
        record = CheckpointRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return "damaged-checkpoint", f"{RECORD} cannot be read"
    if record.files is None:
        return "checkpoint-without-digests", "its record has no digests"
    for name, digest in record.files.items():
        verdict = at.stored.verdict(folder / name, digest, again=again)
        if verdict not in ("matches", "changing"):
            words = "is missing" if verdict == "missing" else "is not the file that was written"
            return "damaged-checkpoint", f"{name} {words}"
    return None
