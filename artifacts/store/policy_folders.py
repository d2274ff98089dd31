"""Where policies lie by their digest, and the digests of their files, remembered between commands.

Hashing the weights of a model takes seconds or minutes. A file's digest is remembered with its
path, size, times and place on the disk, and is computed again when one of them changes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from artifacts.store.atomic_file import write_atomic
from artifacts.store.data_dir import DataDir
from artifacts.store.shared.objects import Objects
from artifacts.store.shared.policies import fetch_policy, send_policy
from policy.files.model_files import defining_files
from policy.model.load import fingerprint_of
from schemas.errors import InputError, StoreError
from schemas.frozen import Frozen
from schemas.identity import file_digest
from schemas.references import PolicyRef

TICK_NS = 20_000_000  # longer than the ticks of local file systems
TRIES = 3


class RememberedFile(Frozen):
    """A file's digest, and what it looked like when it was computed."""

    state: tuple[int, ...]
    digest: str


class Remembered(Frozen):
    """What is kept on disk: files by path, and folders by the digest of the policy in them."""

    files: Mapping[str, RememberedFile]
    folders: Mapping[str, str]


class PolicyFolders:
    """The folders of one data folder's policies. `hashed` are the files that were read whole.

    With a shared store a policy that is not on this machine is fetched from there.
    """

    def __init__(self, data_dir: DataDir, shared: Objects | None = None) -> None:
        self._models = data_dir.models
        self._shared = shared
        self._path = data_dir.models / "fingerprints.json"
        self._lock = FileLock(self._path.with_suffix(".lock"))
        self._seen: dict[str, Path] = {}  # folders that this process has asked for, by digest
        self.hashed: list[Path] = []

    def digest(self, folder: Path) -> str:
        """The fingerprint of the policy in a folder, which can be found by it from now on.

        Raises InputError for a folder that holds no policy.
        """
        return fingerprint_of(self.files(folder))

    def files(self, folder: Path) -> dict[str, str]:
        """The digests of the files that define the policy in a folder, by name; see `digest`."""
        known = self._known()
        files = dict(known.files)
        found = {file.name: self._file_digest(file, files) for file in defining_files(folder)}
        digest = fingerprint_of(found)
        self._seen[digest] = folder.absolute()
        folders = {**known.folders, digest: str(folder.absolute())}
        if files != known.files or folders != known.folders:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock:  # another process may have added something meanwhile
                newest = self._known()
                merged = Remembered(
                    files={**newest.files, **files}, folders={**newest.folders, **folders}
                )
                write_atomic(self._path, merged.model_dump_json(indent=1).encode())
        return found

    def find(self, policy: PolicyRef) -> Path:
        """The folder of a policy that `digest` has seen; StoreError where it is not there."""
        if (seen := self._seen.get(policy.digest)) is not None and seen.is_dir():
            return seen
        folder = self._known().folders.get(policy.digest)
        if folder is not None and Path(folder).is_dir():
            return Path(folder)
        if (fetched := self.fetch(policy.digest)) is not None:
            return fetched
        raise StoreError(
            "the folder of this policy is not known on this machine",
            policy.name,
            "name the model again, so that it is found",
        )

    def share(self, folder: Path) -> None:
        """Keep the policy of a folder in the shared store too, if there is one."""
        if self._shared is not None:
            send_policy(self._shared, folder, self.files(folder))

    def fetch(self, digest: str) -> Path | None:
        """The folder of a policy of the shared store, fetched once; None where it has none.

        One process fetches while the others wait. A folder whose files have changed is fetched
        again. Raises StoreError where the store's own files are damaged.
        """
        if self._shared is None:
            return None
        folder = self._models / f"policy-{digest}"
        self._models.mkdir(parents=True, exist_ok=True)
        with FileLock(self._models / f".{folder.name}.lock"):
            if self._is(folder, digest) or (
                fetch_policy(self._shared, digest, folder) and self._is(folder, digest)
            ):
                return folder
        return None

    def _is(self, folder: Path, digest: str) -> bool:
        try:
            return folder.is_dir() and self.digest(folder) == digest
        except InputError:  # some of its files are gone
            return False

    def _known(self) -> Remembered:
        try:
            return Remembered.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            return Remembered(files={}, folders={})

    def _file_digest(self, path: Path, files: dict[str, RememberedFile]) -> str:
        name = str(path.absolute())
        if name not in files or files[name].state != _state(path):
            self.hashed.append(path)
            files[name] = _hashed(path)
        return files[name].digest


def _state(path: Path) -> tuple[int, ...]:
    """What changes with a file's bytes: a user can set the time of a write, but not of a change."""
    status = path.stat()
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


def _hashed(path: Path) -> RememberedFile:
    """A file's digest and the state that it belongs to: nothing was written in between.

    The clock of a file system ticks every few milliseconds, and a second write within one tick
    leaves no trace. So a file that has just changed is hashed after the tick is over.
    """
    for _ in range(TRIES):
        state = _state(path)
        since_change = time.time_ns() - path.stat().st_ctime_ns
        time.sleep(min(max(TICK_NS - since_change, 0), TICK_NS) / 1e9)
        digest = file_digest(path)
        if _state(path) == state:
            return RememberedFile(state=state, digest=digest)
    raise StoreError("is being written", str(path), "try again when it is whole")
