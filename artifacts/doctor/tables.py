"""Tables and keys: each table's bytes against its name, each key against what its table says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.doctor.examination import SHOWN, Examination, Found, Repair
from artifacts.doctor.set_aside import SetAside
from artifacts.store.atomic_file import write_new
from artifacts.store.key_index import KeyIndex
from artifacts.store.keys import TaskKey
from artifacts.store.parquet_table import SCHEMAS, provenance_in
from schemas.errors import StoreError
from schemas.references import TableRef


def table_files(at: Examination) -> list[Path]:
    """Every file that is named as a table."""
    folders = [at.data_dir.tables / kind for kind in SCHEMAS]
    return [path for folder in folders for path in sorted(folder.glob("*.parquet"))]


def check_tables(at: Examination) -> Iterator[Found]:
    """Whether each table has the digest that is its name."""
    for path in table_files(at):
        at.count("tables")
        digest = path.stem
        verdict = at.stored.verdict(path, digest)
        if verdict == "differs":  # what is damaged is written again by whoever makes it
            verdict = at.stored.verdict(path, digest, again=True)
        if verdict == "differs":
            _read_copies(at)
            what = (
                f"its bytes have the digest {at.stored.digest(path)[:SHOWN]}, not that of its name"
            )
            yield at.found("changed-table", path, what, at.copied(path, digest))
        elif verdict == "unreadable":
            in_its_place = at.moved(path, path.is_dir) if path.is_dir() else None
            yield at.found("unreadable-file", path, "the table cannot be read", in_its_place)


def _read_copies(at: Examination) -> None:
    """Know the copies of tables beside runs, also where no database says whose they are."""
    if at.recorded is None:
        copies = at.data_dir.run_artifacts.glob("*/artifacts/tables/*.parquet")
        at.stored.digests({str(path): path for path in copies})


def check_keys(at: Examination) -> Iterator[Found]:
    """Whether each key can be read and leads to the table that it stands for."""
    folder = at.data_dir.tables / "keys"
    index = KeyIndex(folder)
    for path in sorted(folder.glob("*.json")):
        at.count("keys")
        found = _judged(at, index, path)
        if found is None:
            continue
        name, what = found
        # whoever has proven a key wrong removes it, and another writes the right one
        if path.exists() and _judged(at, index, path) == found:
            yield at.found(name, path, what, _repaired(at, index, path, found))


def _judged(at: Examination, index: KeyIndex, path: Path) -> tuple[str, str] | None:
    """What is wrong with a key, as a finding's name and words."""
    try:
        reference = index.read(path.stem)
    except StoreError as fault:
        return "damaged-key", fault.what
    if reference is None:
        return None
    table = _place(at, reference)
    led = f"it leads to the {reference.kind} table {reference.digest[:SHOWN]}"
    if not table.exists():
        return "key-to-nothing", f"{led}, which is not there"
    stands_for = _key_of(table)
    if stands_for is None or at.stored.verdict(table, reference.digest) != "matches":
        return None  # the table is damaged, and is found for itself
    if stands_for != path.stem:
        # earlier versions named keys in other ways, so a table must have its right one besides
        has_another = path.with_name(f"{stands_for}.json").exists()
        return ("wrong-key", f"{led}, which was made as something else") if has_another else None
    if (rows := _rows_of(table)) is not None and reference.rows != rows:
        return "wrong-key", f"it says {reference.rows} rows, and its table has {rows}"
    return None


def _repaired(at: Examination, index: KeyIndex, path: Path, found: tuple[str, str]) -> Repair:
    """Set a key aside, and write it again where a table says that it is what the key stands for."""

    def repair(aside: SetAside) -> str:
        with index.changing:
            if _judged(at, index, path) != found:
                return "it is right by now"
            done = aside.move(path)
        for table in table_files(at):
            if _key_of(table) == path.stem and at.stored.verdict(table, table.stem) == "matches":
                if (rows := _rows_of(table)) is None:
                    continue
                right = TableRef.model_validate(
                    {"kind": table.parent.name, "digest": table.stem, "rows": rows}
                )
                if write_new(path, right.model_dump_json().encode()):
                    return f"{done}, written again for the table {table.stem[:SHOWN]}"
        return done

    return Repair(repair)


def _key_of(table: Path) -> str | None:
    """The name of the key under which a table's provenance says that it is kept."""
    try:
        made = provenance_in(table)
    except StoreError:
        return None
    kind = table.parent.name
    return TaskKey(kind, made).digest if made.kind == kind else None  # type: ignore[arg-type]


def _rows_of(table: Path) -> int | None:
    """How many rows a table has; None where it has gone since it was looked at."""
    try:
        return int(pq.read_metadata(table).num_rows)
    except (OSError, pa.ArrowException):
        return None


def _place(at: Examination, reference: TableRef) -> Path:
    return at.data_dir.tables / reference.kind / f"{reference.digest}.parquet"
