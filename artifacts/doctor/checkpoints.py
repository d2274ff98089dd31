"""Checkpoints: each file against the digest in its record, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from artifacts.doctor.examination import Examination, Found
from artifacts.store.checkpoints import RECORD, CheckpointRecord


def check_checkpoints(at: Examination) -> Iterator[Found]:
    """Every checkpoint of a run that no process is writing."""
    for of_run in sorted(path for path in at.data_dir.checkpoints.glob("*") if path.is_dir()):
        run = at.recorded.runs.get(of_run.name) if at.recorded else None
        if run is not None and run.goes_on:
            continue
        if at.recorded is not None and run is None and not at.may_be_written(of_run.name):
            what = "no run has this id"
            yield at.found("checkpoint-of-no-run", of_run, what, at.moved(of_run))
            continue
        for folder in sorted(path for path in of_run.iterdir() if path.is_dir()):
            at.count("checkpoints")
            found = _judged(at, folder)
            # a run may have been resumed meanwhile, and then deletes its older checkpoints
            if found is None or at.may_be_written(of_run.name) or not folder.exists():
                continue
            name, what = found
            is_old = name == "checkpoint-without-digests"
            yield at.found(name, folder, what, None if is_old else at.moved(folder))


def _judged(at: Examination, folder: Path) -> tuple[str, str] | None:
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
        if (verdict := at.stored.verdict(folder / name, digest)) not in ("matches", "changing"):
            words = "is missing" if verdict == "missing" else "is not the file that was written"
            return "damaged-checkpoint", f"{name} {words}"
    return None
