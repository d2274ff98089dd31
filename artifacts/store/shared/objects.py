"""The one interface of a shared store: bytes by name, each there whole or not at all.

A name is a path with slashes below the store's own place. What lies in it: `tables/KIND/DIGEST`,
`keys/KEY`, `policies/DIGEST` with `files/DIGEST`, `checkpoints/RUN/STEP/…` and `leases/NAME`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from schemas.errors import InputError, StoreError
from schemas.identity import canonical_json, file_digest

VARIABLE = "THREELOOPS_STORE"
MARK = "threeloops.json"  # says that a store is ours, and which layout it has
LAYOUT = canonical_json({"layout": 1}).encode()
SHOWN = 12  # characters of a digest in a message


@dataclass(frozen=True)
class Found:
    """What was read under a name, and the version that `replace` compares."""

    content: bytes
    version: str


class Objects(Protocol):
    """Bytes by name. Each method raises InputError where the store cannot be used."""

    @property
    def address(self) -> str:
        """Where it is, as messages may say it."""

    def get(self, name: str) -> Found | None:
        """What lies under a name; None where nothing does."""

    def fetch(self, name: str, path: Path) -> bool:
        """Write what lies under a name into a new local file; False where nothing does."""

    def put(self, name: str, content: bytes | memoryview | Path) -> None:
        """Let bytes, or those of a local file, lie under a name, in place of what was there."""

    def put_if_absent(self, name: str, content: bytes) -> bool:
        """Let bytes lie under a name unless something does; whether they do now.

        Of several writers exactly one is told True. Who is told False may have been first all the
        same: a request whose answer was lost is made again.
        """

    def replace(self, name: str, content: bytes, version: str) -> bool:
        """Let bytes lie under a name if what lies there still has this version; whether it had."""

    def exists(self, name: str) -> bool:
        """Whether something lies under a name."""

    def list(self, folder: str) -> list[str]:
        """The names below a folder, in order."""

    def delete(self, name: str) -> None:
        """Let nothing lie under a name."""


def check_store(objects: Objects) -> None:
    """InputError unless a store can be listed and read, and written on conditions.

    A store that is used for the first time gets a small object that says which layout it has.
    """
    objects.list("leases")
    if objects.put_if_absent(MARK, LAYOUT) and objects.put_if_absent(MARK, LAYOUT):
        raise InputError(
            "the store takes a second object under a name that must have one: of two writers "
            "both would be the first",
            at(objects.address),
            "use a store that honours `If-None-Match: *`, as S3 does",
        )
    found = objects.get(MARK)
    if found is not None and found.content != LAYOUT:
        raise InputError(
            f"its {MARK} is another program's, or a newer version's",
            at(objects.address),
            "name another prefix, or use the version that wrote it",
        )
    if found is not None and objects.replace(MARK, LAYOUT, _another(found.version)):
        raise InputError(
            "the store writes over an object that is not in the version that was named: two "
            "machines would hold one lease",
            at(objects.address),
            "use a store that honours `If-Match`, as S3 does",
        )


def _another(version: str) -> str:
    """A version of the same form that nothing has."""
    last = re.compile(r"[0-9A-Za-z](?=[^0-9A-Za-z\n]*$)", re.MULTILINE)
    return last.sub(lambda found: "1" if found[0] == "0" else "0", version)


def fetch_checked(objects: Objects, name: str, path: Path) -> bool:
    """Fetch into a new local file and compare its digest with its name, which begins with it.

    False where nothing lies there. Raises StoreError, and leaves no file, where the digest differs.
    """
    if not objects.fetch(name, path):
        return False
    expected = Path(name).name.partition(".")[0]
    if (found := file_digest(path)) != expected:
        path.unlink()
        raise StoreError(
            f"its bytes have the digest {found[:SHOWN]}, not {expected[:SHOWN]}; they were changed "
            "after they were written",
            f"{name} in {objects.address}",
            "delete it there and run again",
        )
    return True


def at(address: str) -> str:
    """How a message says which store is meant."""
    return f"{VARIABLE}={address}"
