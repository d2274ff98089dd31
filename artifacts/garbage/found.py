"""What nothing refers to and nobody has made or used lately: tables, keys, checkpoints, copies."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.garbage.references import DIGEST, References
from artifacts.store.key_index import KeyIndex
from artifacts.store.parquet_table import SCHEMAS
from artifacts.store.shared.checkpoints import RECORD
from artifacts.tracking.archive import Archive
from schemas.errors import InputError, StoreError

HOUR = 3600.0
MARGIN = HOUR  # before a run that is under way: its process had begun, and clocks differ


@dataclass(frozen=True)
class Garbage:
    """A file or folder that nothing refers to, and its size; `kind` as it is counted."""

    kind: str
    path: Path
    bytes: int


@dataclass(frozen=True)
class Found:
    """What may be dropped: everything last made or used before `before`, seconds since 1970."""

    garbage: tuple[Garbage, ...]
    before: float
    kept_tables: int


def find_garbage(archive: Archive, references: References, hours: float) -> Found:
    """What a data folder has that nothing refers to, of what was not used for so many hours.

    Nothing that was made or used since the first run that is under way began is among it: the run
    may be about to refer to it. Raises InputError where a table that is referred to cannot be read:
    what it was made from is not known.
    """
    before = time.time() - hours * HOUR
    if references.underway_since_ms is not None:
        before = min(before, references.underway_since_ms / 1000 - MARGIN)
    tables = {path.stem: path for path in _tables(archive)}
    reached = _reached(references.digests, tables)
    dropped = {
        digest: path
        for digest, path in tables.items()
        if digest not in reached and _is_older(path, before)
    }
    garbage = [
        *(Garbage(f"{path.parent.name} tables", path, _size(path)) for path in dropped.values()),
        *_keys(archive, dropped, before),
        *_checkpoints(archive, references, before),
        *_fetched(archive, before),
    ]
    return Found(tuple(garbage), before, len(tables) - len(dropped))


def _tables(archive: Archive) -> Iterator[Path]:
    for kind in SCHEMAS:
        yield from (archive.data_dir.tables / kind).glob("*.parquet")


def _reached(named: set[str], tables: dict[str, Path]) -> set[str]:
    """The tables that are named, and all that they were made from."""
    reached: set[str] = set()
    ahead = [digest for digest in named if digest in tables]
    while ahead:
        digest = ahead.pop()
        if digest in reached:
            continue
        reached.add(digest)
        ahead += [one for one in _named_in(tables[digest]) if one in tables and one not in reached]
    return reached


def _named_in(table: Path) -> Iterator[str]:
    """Every digest that a table names: in what is told of it, and in its columns of digests."""
    try:
        schema = pq.read_schema(table)
        columns = [name for name in schema.names if name.endswith("_digest")]
        rows = pq.read_table(table, columns=columns) if columns else None
    except FileNotFoundError:
        return
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"cannot be read ({' '.join(str(error).split())[:120]}), so what it was made from is "
            "not known",
            str(table),
            "`threeloops doctor` says what to do",
        ) from None
    for told in (schema.metadata or {}).values():
        yield from DIGEST.findall(told.decode("utf-8", "replace"))
    for column in rows.columns if rows is not None else ():
        yield from (one for one in column.to_pylist() if one is not None)


def _keys(archive: Archive, dropped: dict[str, Path], before: float) -> Iterator[Garbage]:
    """Keys that lead to a table that is dropped, or to none; those of a shared store stay."""
    if archive.shared is not None:
        return
    folder = archive.data_dir.tables / "keys"
    index = KeyIndex(folder)
    for path in folder.glob("*.json"):
        with contextlib.suppress(StoreError):  # the doctor tells of a damaged one
            led = index.read(path.stem)
            if led is None:
                continue
            there = (archive.data_dir.tables / led.kind / f"{led.digest}.parquet").exists()
            if led.digest in dropped or (not there and _is_older(path, before)):
                yield Garbage("keys", path, _size(path))


def _checkpoints(archive: Archive, references: References, before: float) -> Iterator[Garbage]:
    """The checkpoints of runs that were deleted; of any other run nobody knows whether it goes on.

    A run that no MLflow knows here may be one of an MLflow that is not named now.
    """
    for folder in archive.data_dir.checkpoints.glob("*"):
        if folder.name not in references.known - references.kept or not folder.is_dir():
            continue
        inside = [path for path in folder.rglob("*") if path.is_file()]
        if all(_is_older(path, before) for path in [folder, *inside]):
            yield Garbage("checkpoints", folder, sum(map(_size, inside)))


def _fetched(archive: Archive, before: float) -> Iterator[Garbage]:
    """Files that a killed command was fetching from MLflow."""
    for folder in archive.data_dir.mlflow_cache.glob("tmp*"):
        if folder.is_dir() and _is_older(folder, before):
            inside = (path for path in folder.rglob("*") if path.is_file())
            yield Garbage("half-fetched files", folder, sum(map(_size, inside)))


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def steps_of(checkpoints: Path) -> list[Path]:
    """The records of a run's checkpoints, which go before the files that they are about."""
    return sorted(checkpoints.glob(f"*/{RECORD}"))
