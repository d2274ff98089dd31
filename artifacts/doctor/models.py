"""Models in the data folder and versions in the registry: each file against its recorded digest."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from artifacts.doctor.examination import SHOWN, Examination, Found, Repair
from artifacts.registry.versions import RegisteredVersion
from artifacts.store.policy_folders import Remembered
from policy.files.model_files import defining_files
from policy.model.load import fingerprint_of
from schemas.errors import InputError

FETCHING = "*.incomplete"  # a file that the hub's client is fetching
STALLED = 3600.0  # seconds without a byte


def check_models(at: Examination) -> Iterator[Found]:
    """The default model and those of the hub, whose files never change once they are there."""
    models = at.data_dir.models
    remembered = _remembered(models)
    folders = sorted(
        config.parent for depth in ("*", "hub/*") for config in models.glob(f"{depth}/config.json")
    )
    for folder in folders:
        if folder.name.startswith("."):
            continue
        at.count("models")
        if (unusable := _unusable(folder)) is not None:
            yield at.found("unusable-model", folder, unusable, _moved_if_unusable(at, folder))
            continue
        for name, file in _defining(folder).items():
            digest = remembered.get(str(file.relative_to(models)))
            if digest and at.stored.verdict(file, digest) == "differs":
                what = f"{name} is not the file whose digest was kept ({digest[:SHOWN]})"
                repair = _moved_if_changed(at, folder, file, digest)
                yield at.found("changed-model", folder, what, repair)
                break


def check_versions(at: Examination) -> Iterator[Found]:
    """Whether the files of each version are those that were registered."""
    if at.recorded is None:
        return
    for version in at.recorded.versions.values():
        at.count("versions")
        run = at.recorded.runs.get(version.run_id)
        if version.run_id and (run is None or run.deleted):
            what = "the learning run that made it is gone"
            yield at.found("version-without-run", version.name, what)
        if not version.folder.is_dir() and at.store.has_policy(version.digest):
            continue  # it is fetched when it is used
        if not version.digest:
            yield at.found("version-without-digest", version.name, "it has no digest")
        elif version.files and fingerprint_of(version.files) == version.digest:
            yield from _check_files(at, version)
        else:
            yield from _check_whole(at, version)


def _check_files(at: Examination, version: RegisteredVersion) -> Iterator[Found]:
    for name, digest in version.files.items():
        path = version.folder / name
        verdict = at.stored.verdict(path, digest)
        if verdict == "missing":
            what = f"{name} of {version.name} is not there"
            yield at.found("missing-version", path, what, at.copied(path, digest))
        elif verdict in ("differs", "unreadable"):
            what = f"{name} is not what was registered as {version.name} ({digest[:SHOWN]})"
            yield at.found("changed-version", path, what, at.copied(path, digest))
    for name in sorted(_defining(version.folder).keys() - version.files.keys()):
        path = version.folder / name
        what = f"{name} was not there when {version.name} was registered"
        yield at.found("changed-version", path, what, at.moved(path, path.exists))


def _check_whole(at: Examination, version: RegisteredVersion) -> Iterator[Found]:
    """A version of an earlier data folder, of which only the digest of the whole is known."""
    files = _defining(version.folder)
    if not files:
        what = f"the files of {version.name} are not there"
        yield at.found("missing-version", version.folder, what)
    elif fingerprint_of(at.stored.digests(files)) != version.digest:
        what = f"the files are not what was registered as {version.name}"
        yield at.found("changed-version", version.folder, what)


def _unusable(folder: Path) -> str | None:
    """Why the files of a model cannot be used; None also while they are coming from the hub."""
    try:
        defining_files(folder)
    except InputError as error:
        return None if _is_fetched(folder) else error.what
    return None


def _moved_if_unusable(at: Examination, folder: Path) -> Repair:
    return at.moved(folder, lambda: _unusable(folder) is not None)


def _moved_if_changed(at: Examination, folder: Path, file: Path, digest: str) -> Repair:
    return at.moved(folder, lambda: at.stored.verdict(file, digest, again=True) == "differs")


def _is_fetched(folder: Path) -> bool:
    """Whether files of a model are coming from the hub just now."""
    for place, _, files in os.walk(folder):
        for name in fnmatch.filter(files, FETCHING):
            with contextlib.suppress(OSError):  # it is whole by now, and has another name
                if time.time() - (Path(place) / name).stat().st_mtime < STALLED:
                    return True
    return False


def _defining(folder: Path) -> dict[str, Path]:
    try:
        return {file.name: file for file in defining_files(folder)}
    except InputError:
        return {}


def _remembered(models: Path) -> dict[str, str]:
    """The digests that were kept, by path below the folder of models.

    The paths in it are whole. In a data folder that was moved they begin elsewhere, so only what
    follows the last `models/` counts.
    """
    try:
        kept = Remembered.model_validate_json((models / "fingerprints.json").read_bytes())
    except (OSError, ValidationError):
        return {}
    found: dict[str, str] = {}
    for name, file in kept.files.items():
        if Path(name).is_relative_to(models):
            found[str(Path(name).relative_to(models))] = file.digest
        elif (mark := f"/{models.name}/") in name:
            found.setdefault(name.rpartition(mark)[2], file.digest)
    return found
