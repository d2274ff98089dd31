"""Dropping what was found: each piece is looked at once more, under the lock of who would use it.

A process that is killed in between has dropped some pieces whole. What is left of a piece, such as
the key of a table that is gone, is found as garbage by the next one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from artifacts.garbage.found import Found, Garbage, steps_of
from artifacts.store.in_use import InUse
from artifacts.store.key_index import KeyIndex
from artifacts.tracking.archive import Archive
from policy.files.atomic_folder import held_alone
from schemas.errors import StoreError


def drop_garbage(
    archive: Archive, found: Found, on_dropped: Callable[[int], None] = lambda count: None
) -> list[Garbage]:
    """Delete what was found, but for what somebody has used meanwhile; returns what is gone.

    Tables of a shared store are never deleted: what is here of them is a copy.
    """
    in_use, gone = InUse(), []
    for one in found.garbage:
        if one.kind == "keys":
            dropped = _drop_key(archive, one.path)
        elif one.path.suffix == ".parquet":
            dropped = in_use.delete(one.path, unused_since=found.before)
        else:
            dropped = _drop_folder(one.path, found.before)
        if dropped:
            gone.append(one)
            on_dropped(len(gone))
    return gone


def _drop_key(archive: Archive, path: Path) -> bool:
    """Remove a key that leads nowhere: whoever has just made its table has another one there."""
    index = KeyIndex(path.parent)
    with index.changing:
        try:
            led = index.read(path.stem)
        except StoreError:
            return False
        if led is None:
            return True
        if (archive.data_dir.tables / led.kind / f"{led.digest}.parquet").exists():
            return False
        index.remove(path.stem)
        return True


def _drop_folder(folder: Path, before: float) -> bool:
    """Delete a folder that nobody writes: first the records, without which it is no checkpoint."""
    inside = [path for path in folder.rglob("*") if path.is_dir()]
    with ExitStack() as stack:
        for path in [folder, *inside]:
            if not stack.enter_context(held_alone(path)) or path.stat().st_mtime >= before:
                return False
        for record in steps_of(folder):
            record.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
