"""The rows of MLflow's database that copies of runs have, made from the originals' by SQL."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

HOUR_MS = 3_600_000  # between a family of copies and the one before it
# what may be the name of something that is copied: an id, a digest, a run's name, a version
NAME = re.compile(
    rb"m-[0-9a-f]{32}|[0-9a-f]{64}|[0-9a-f]{32}|[a-z]+-[0-9a-f]{6}\b|models:/threeloops/1\b"
)
# tables of MLflow's database, with the column that says whose a row is
OF_RUNS = {
    "tags": "run_uuid",
    "params": "run_uuid",
    "metrics": "run_uuid",
    "latest_metrics": "run_uuid",
}


@dataclass(frozen=True)
class Family:
    """The copy of every original at once: what stands in place of what."""

    number: int
    instead: dict[str, str]

    def renamed(self, text: bytes) -> bytes:
        """A text in which the copies stand in place of the originals."""
        instead = self.instead

        def copy(found: re.Match[bytes]) -> bytes:
            name = found[0].decode()
            return instead.get(name, name).encode()

        return NAME.sub(copy, text)


def copy_rows(connection: sqlite3.Connection, originals: list[str], families: list[Family]) -> None:
    """Copy the rows of every original, once a family, with the copies' names in them."""
    for statement in _statements(connection):
        connection.execute(statement)
    connection.create_function("renamed", 2, _renaming(families), deterministic=True)
    connection.executemany(
        "insert into family values (?, ?)",
        [(family.number, HOUR_MS * family.number) for family in families],
    )
    connection.executemany(
        "insert into copy values (?, ?, ?)",
        [
            (family.number, original, family.instead[original])
            for family in families
            for original in originals
        ],
    )
    _insert(connection, "runs", {
        "run_uuid": "copy.new", "name": "renamed(family.number, name)",
        "start_time": "start_time - before", "end_time": "end_time - before",
        "artifact_uri": "renamed(family.number, artifact_uri)",
    }, "run_uuid")  # fmt: skip
    for name, owner in OF_RUNS.items():
        told = {owner: "copy.new"}
        if name in ("tags", "params"):
            told["value"] = "renamed(family.number, value)"
        _insert(connection, name, told, owner)
    _insert(connection, "logged_models", {
        "model_id": "copy.new", "artifact_location": "renamed(family.number, artifact_location)",
        "source_run_id": "renamed(family.number, source_run_id)",
    }, "model_id")  # fmt: skip
    for name in ("logged_model_metrics", "logged_model_params", "logged_model_tags"):
        told = {"model_id": "copy.new"}
        if name == "logged_model_metrics":
            told["run_id"] = "renamed(family.number, run_id)"
        _insert(connection, name, told, "model_id")
    _insert(connection, "inputs", {
        "input_uuid": "lower(hex(randomblob(16)))",
        "source_id": "renamed(family.number, source_id)",
        "destination_id": "copy.new",
    }, "destination_id")  # fmt: skip
    of_us = "where name = 'threeloops' and {}.version = 1"
    for name in ("model_versions", "model_version_tags"):
        told = {"version": "family.number + 1"}
        if name == "model_versions":
            told |= {one: f"renamed(family.number, {one})" for one in
                     ("source", "storage_location", "run_id")}  # fmt: skip
        else:
            told["value"] = "renamed(family.number, value)"
        _insert(connection, name, told, "", of_us.format(name))
    connection.execute("update registered_model_aliases set version = 1")


def _statements(connection: sqlite3.Connection) -> Iterator[str]:
    yield "create temp table family (number integer primary key, before integer)"
    yield "create temp table copy (number integer, old text, new text)"
    yield "create index temp.by_old on copy (old)"


def _renaming(families: list[Family]):  # type: ignore[no-untyped-def]
    by_number = {family.number: family for family in families}

    def renamed(number: int, text: str | None) -> str | None:
        return None if text is None else by_number[number].renamed(text.encode()).decode()

    return renamed


def _insert(
    connection: sqlite3.Connection, name: str, told: Mapping[str, str], owner: str, where: str = ""
) -> None:
    """Copy the rows of one table, with these expressions in place of these columns."""
    columns = [str(row[1]) for row in connection.execute(f"pragma table_info({name})")]
    chosen = ", ".join(told.get(column, f"{name}.{column}") for column in columns)
    joined = "cross join family"
    if owner:
        joined = (
            f"join copy on copy.old = {name}.{owner} join family on family.number = copy.number"
        )
    connection.execute(
        f"insert into {name} ({', '.join(columns)}) select {chosen} from {name} {joined} {where}"
    )
