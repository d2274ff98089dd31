"""Whether the files of a registered version are those that were registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from artifacts.registry.versions import RegisteredVersion
from artifacts.store.policy_folders import PolicyFolders
from policy.model.load import fingerprint_of
from schemas.errors import InputError

SHOWN = 12  # characters of a digest in a message


def intact_folder(
    folders: PolicyFolders,
    version: RegisteredVersion,
    name: str,
    log_message: Callable[[str], None],
) -> Path:
    """The folder of a version, after its files were compared with what was registered.

    A file is hashed once and its digest remembered (`PolicyFolders`). Raises InputError, naming
    the file and both digests, where one differs. `name` is what the user wrote. A version of a
    former data folder may have no digest: that is said, and its files are taken as they are.
    """
    if not version.digest:
        log_message(
            f"warning: {version.name} was registered without digests, by an earlier version of "
            "threeloops; whether its files have changed is not known"
        )
        return version.folder
    found = folders.files(version.folder)
    if fingerprint_of(found) == version.digest:
        return version.folder
    file, expected, now = _first_change(version, found)
    raise InputError(
        f"{file} is not what was registered as {version.name} (expected {expected}, found {now})",
        f"--model {name}",
        f"put back what was registered, or name the folder itself with --model {version.folder}",
    )


def _first_change(version: RegisteredVersion, found: dict[str, str]) -> tuple[Path, str, str]:
    """The first file that differs, with its digests; the folder where only the whole is known."""
    registered = version.files
    if fingerprint_of(registered) != version.digest:
        whole = fingerprint_of(found)
        return version.folder, version.digest[:SHOWN], whole[:SHOWN]
    names = sorted(registered.keys() | found.keys())
    name = next(name for name in names if registered.get(name) != found.get(name))
    expected, now = (files.get(name, "none")[:SHOWN] for files in (registered, found))
    return version.folder / name, expected, now
