"""The shared store: whether it answers, what of the runs of this data folder it lacks, and leases.

Nothing in it is changed or fetched without a repair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from artifacts.doctor.examination import Examination, Found, Repair, finding
from artifacts.doctor.recorded import RecordedRun
from artifacts.doctor.runs import steps_of
from artifacts.doctor.set_aside import SetAside
from artifacts.doctor.store_look import StoreLook
from artifacts.registry.versions import RegisteredVersion
from artifacts.store.checkpoints import CheckpointRecord
from artifacts.store.process import is_gone
from artifacts.store.shared.checkpoints import RECORD
from artifacts.store.shared.lease import read_lease
from artifacts.store.shared.objects import Objects
from artifacts.store.shared.owners import Owners, owner_lease
from artifacts.store.shared.policies import send_policy
from artifacts.store.shared.tables import table_name
from artifacts.store.steps import tables_of
from schemas.errors import InputError
from schemas.references import TableKind


def check_store_answers(store: StoreLook) -> Iterator[Found]:
    """Whether the store that the environment names can be listed and read."""
    if store.fault is not None:
        where = store.fault.where or store.address
        yield Found(finding("store-unusable", where, store.fault.what))


def check_shared_store(at: Examination) -> Iterator[Found]:
    """What the store lacks of this data folder's runs, and who holds leases in it."""
    objects = at.store.objects
    if objects is None:
        return
    try:
        yield from _check_tables(at, objects)
        yield from _check_versions(at, objects)
        yield from _check_checkpoints(at, objects)
        yield from _check_leases(at, objects)
    except InputError as error:  # it answered at the beginning
        yield at.found("store-unusable", at.store.address, error.what)


def _check_tables(at: Examination, objects: Objects) -> Iterator[Found]:
    for run in _ended(at):
        for what, kind, digest in _named_tables(at, run):
            at.count("shared")
            path = at.data_dir.tables / kind / f"{digest}.parquet"
            # one that is nowhere is found as a table of its run
            if path.exists() and not at.store.has_table(kind, digest):
                alone = f"{what} of run {run.name} is in this data folder alone"
                yield at.found("not-in-store", path, alone, _table_sent(at, objects, path, digest))


def _named_tables(at: Examination, run: RecordedRun) -> Iterator[tuple[str, TableKind, str]]:
    """Every table that a run names or learned from: what it is, its kind and its digest."""
    for name, (kind, digest) in run.tables().items():
        yield f"the table {name}", kind, digest
        if kind == "training":
            for row in steps_of(at.data_dir.tables / kind / f"{digest}.parquet"):
                for of_step, step_digest in tables_of(row):
                    yield f"a table of step {row.step}", of_step, step_digest


def _table_sent(at: Examination, objects: Objects, path: Path, digest: str) -> Repair:
    def repair(aside: SetAside) -> str | None:
        if at.stored.verdict(path, digest, again=True) != "matches":
            return None
        objects.put(table_name(path.parent.name, digest), path)
        return f"sent to {objects.address}"

    return Repair(repair)


def _check_versions(at: Examination, objects: Objects) -> Iterator[Found]:
    for version in at.recorded.versions.values() if at.recorded else ():
        if not version.digest or not version.files:
            continue
        at.count("shared")
        if version.folder.is_dir() and not at.store.has_policy(version.digest):
            what = f"the files of {version.name} are in this data folder alone"
            repair = _policy_sent(at, objects, version)
            yield at.found("not-in-store", version.folder, what, repair)


def _policy_sent(at: Examination, objects: Objects, version: RegisteredVersion) -> Repair:
    def repair(aside: SetAside) -> str | None:
        files: Mapping[str, str] = version.files
        for name, digest in files.items():
            if at.stored.verdict(version.folder / name, digest, again=True) != "matches":
                return None
        send_policy(objects, version.folder, files)
        return f"sent to {objects.address}"

    return Repair(repair)


def _check_checkpoints(at: Examination, objects: Objects) -> Iterator[Found]:
    """Whether the store has every file of the checkpoints that a run can be resumed from."""
    for run in _ended(at):
        of_run = f"checkpoints/{run.run_id}/"
        for name in sorted(at.store.checkpoints):
            if not name.startswith(of_run) or Path(name).name != RECORD:
                continue
            at.count("shared")
            if missing := _missing_files(objects, at.store.checkpoints, name):
                shown = f"{missing[0]} is not in the store" if missing[0] else "cannot be read"
                what = f"a checkpoint of run {run.name}: {shown}"
                yield at.found("damaged-in-store", name.rpartition("/")[0], what)


def _missing_files(objects: Objects, there: frozenset[str], record: str) -> list[str]:
    """Files that a record names and the store lacks; an empty name for a record without sense."""
    found = objects.get(record)
    if found is None:  # its run has gone on meanwhile, on another machine
        return []
    try:
        files = CheckpointRecord.model_validate_json(found.content).files or {}
    except ValidationError:
        return [""]
    folder = record.rpartition("/")[0]
    return [name for name in sorted(files) if f"{folder}/{name}" not in there]


def _check_leases(at: Examination, objects: Objects) -> Iterator[Found]:
    """Whether processes that are gone hold leases.

    Of other machines that is known where an earlier command has noted when it saw the lease as it
    is now; this one notes nothing.
    """
    owners = Owners(objects, at.data_dir.locks / "owners.json")
    for name in at.store.leases:
        found = objects.get(name)
        holder = read_lease(found).holder if found is not None else ""
        if not holder:
            continue
        at.count("leases")
        if is_gone(holder) or owners.was_gone(holder, owner_lease(holder)):
            what = f"{holder} held it, and is gone"
            yield at.found("dead-lease", name, what)


def _ended(at: Examination) -> Iterator[RecordedRun]:
    """The runs of this data folder that no process may be writing."""
    for run in at.recorded.runs.values() if at.recorded else ():
        if not run.deleted and not run.goes_on:
            yield run
