"""The tables of a shared store, fetched by digest into the data folder's own files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from artifacts.store.atomic_file import write_atomic
from artifacts.store.shared.objects import SHOWN, Objects
from schemas.errors import StoreError


def table_name(kind: str, digest: str) -> str:
    """The name of a table in a shared store."""
    return f"tables/{kind}/{digest}.parquet"


def fetch_table(objects: Objects, kind: str, path: Path) -> bool:
    """Fetch the table of a local file, whose name is its digest; whether there is one.

    The local file is there whole or not at all. Raises StoreError where the store's own is damaged.
    """
    digest = path.stem
    found = objects.get(table_name(kind, digest))
    if found is None:
        return False
    if (computed := hashlib.sha256(found.content).hexdigest()) != digest:
        raise StoreError(
            f"its bytes have the digest {computed[:SHOWN]}, not that of its name",
            f"{table_name(kind, digest)} in {objects.address}",
            "delete it there and run again",
        )
    write_atomic(path, found.content)
    return True
