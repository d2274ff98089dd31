"""The links of one run: its tables and models, each compared with the bytes that are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from artifacts.store.engine import engine_of
from artifacts.store.instrument import EXTERNAL
from artifacts.store.parquet_table import provenance_in
from artifacts.store.steps import tables_of
from artifacts.store.stored_bytes import StoredBytes
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from policy.files.model_files import defining_files
from policy.model.load import fingerprint_of
from schemas.engine import NOT_KNOWN
from schemas.errors import InputError, StoreError
from schemas.lineage import LineageLink, LinkState, Role
from schemas.loops import AFTER, BEFORE, LEARNING
from schemas.references import PolicyRef
from schemas.training import TRAINING, training_rows

ROLES: Mapping[str, Role] = {
    "problems": "dataset",
    "completions": "completions",
    "scores": "scores",
    "selections": "selection",
    "step": "step",
    "training": "training",
}
# the tables of the same run that a table was made from
MADE_FROM: Mapping[str, tuple[str, ...]] = {
    "completions": ("problems",),
    "scores": ("problems", "completions"),
    "selections": ("problems", "completions", "scores"),
}


def links_of_run(
    archive: Archive, stored: StoredBytes, run: RunRecord, made: Mapping[str, Path]
) -> Iterator[LineageLink]:
    """From the dataset to what the run measured, picked or learned from, in that order.

    `made` are the folders of the versions that it made, by digest.
    """
    yield from _tables(archive, stored, run, "", ("problems",))
    if run.loop is LEARNING:
        yield from _measured(archive, stored, run, BEFORE, made)
        yield from _training(archive, stored, run)
        yield from _measured(archive, stored, run, AFTER, made)
    else:
        yield from _measured(archive, stored, run, "", made)
        yield from _tables(archive, stored, run, "", ("selections",))


def state_of(stored: StoredBytes, path: Path, digest: str) -> LinkState:
    """How a file is now; one that cannot be read, or is being written, does not match."""
    verdict = stored.verdict(path, digest)
    return verdict if verdict in ("matches", "missing") else "differs"


def table_path(archive: Archive, kind: str, digest: str) -> Path:
    """Where a table's file lies; what only the shared store has is fetched, if it is whole."""
    try:
        return archive.store.here(kind, digest)
    except StoreError:
        return archive.store.root / kind / f"{digest}.parquet"


def model_link(
    stored: StoredBytes, folder: Path | None, digest: str, *, name: str, stage: str
) -> LineageLink:
    """The policy that should have this digest, in the folder where it was seen last."""
    state: LinkState = "missing"
    note = "" if folder else "the folder of this policy is not known on this machine"
    if folder is not None:
        try:
            files = {file.name: file for file in defining_files(folder)}
            found = fingerprint_of(stored.digests(files))
            state = "matches" if found == digest else "differs"
        except InputError as error:
            note = error.what
    return LineageLink(
        role="model",
        stage=stage,
        name=name,
        digest=digest,
        state=state,
        where=str(folder or ""),
        note=note,
    )


def _measured(
    archive: Archive, stored: StoredBytes, run: RunRecord, stage: str, made: Mapping[str, Path]
) -> Iterator[LineageLink]:
    suffix = f"_{stage}" if stage else ""
    kept = run.table_refs()
    if f"completions{suffix}" in kept:
        path = table_path(archive, *kept[f"completions{suffix}"])
        digest = run.tags.get(f"model_digest{suffix}") or _policy_of(path)
        if digest and digest != EXTERNAL:
            name = run.tags.get(f"model{suffix}", "the model that made the stored completions")
            folder = made.get(digest) or _seen(archive, PolicyRef(name=name, digest=digest))
            yield model_link(stored, folder, digest, name=name, stage=stage)
    yield from _tables(archive, stored, run, stage, ("completions", "scores"))


def _tables(
    archive: Archive, stored: StoredBytes, run: RunRecord, stage: str, names: tuple[str, ...]
) -> Iterator[LineageLink]:
    suffix = f"_{stage}" if stage else ""
    kept = run.table_refs()
    for name in names:
        if name + suffix not in kept:
            continue
        kind, digest = kept[name + suffix]
        path = table_path(archive, kind, digest)
        state, note = state_of(stored, path, digest), ""
        if state == "matches" and name in MADE_FROM:
            of_run = {
                one: kept[given][1]
                for one in MADE_FROM[name]
                if (given := one if one == "problems" else one + suffix) in kept
            }
            state, note = _made_from(path, of_run)
        yield LineageLink(
            role=ROLES[name],
            stage=stage,
            name=f"{kind} table",
            digest=digest,
            state=state,
            where=str(path),
            note=note,
        )


def _made_from(path: Path, of_run: Mapping[str, str]) -> tuple[LinkState, str]:
    """Whether a table that is whole was made from these tables of its run."""
    try:
        parents = provenance_in(path).parents
    except StoreError as error:
        return "differs", error.what
    for parent, digest in of_run.items():
        if parents.get(parent, digest) != digest:
            return "differs", f"it was made from other {parent} than the run's"
    return "matches", ""


def _training(archive: Archive, stored: StoredBytes, run: RunRecord) -> Iterator[LineageLink]:
    """The training table, and the table of each of its steps.

    Of a step of an earlier version, the completions and scores that it learned from.
    """
    for link in _tables(archive, stored, run, "", ("training",)):
        yield link
        if link.state != "matches":
            continue
        try:
            steps = training_rows(TRAINING.upgrade(pq.read_table(link.where)))
        except (pa.ArrowException, OSError, ValidationError):
            continue
        for row in steps:
            for kind, digest in tables_of(row):
                path = table_path(archive, kind, digest)
                yield LineageLink(
                    role=ROLES[kind],
                    stage=f"step {row.step}",
                    name=f"{kind} table",
                    digest=digest,
                    state=state_of(stored, path, digest),
                    where=str(path),
                )


def _seen(archive: Archive, policy: PolicyRef) -> Path | None:
    try:
        return archive.folders.find(policy)
    except StoreError:
        return None


def _policy_of(completions: Path) -> str:
    """The digest of the policy that made them; empty where only a server knows its files."""
    try:
        made = provenance_in(completions)
        engine = engine_of(made)
    except StoreError:
        return ""
    if engine is not None and engine.model_digest == NOT_KNOWN:
        return ""
    return str(made.config.get("policy", ""))
