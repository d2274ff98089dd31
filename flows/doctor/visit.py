"""One visit of the doctor: look at everything, repair what is safe if asked to, and look again."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from artifacts.doctor.checkpoints import check_checkpoints
from artifacts.doctor.databases import check_prefect_database, check_tracking_database, recorded_in
from artifacts.doctor.examination import Examination, Found, Repair, after_repair
from artifacts.doctor.leftovers import check_folder, check_leftovers, check_locks
from artifacts.doctor.machine import check_place, check_space, check_versions_of_packages
from artifacts.doctor.models import check_models, check_versions
from artifacts.doctor.runs import check_aliases, check_runs, check_unlisted
from artifacts.doctor.set_aside import SetAside
from artifacts.doctor.shared_store import check_shared_store, check_store_answers
from artifacts.doctor.snapshot import InUseError, UnreadableError
from artifacts.doctor.store_look import StoreLook
from artifacts.doctor.tables import check_keys, check_tables
from artifacts.doctor.templates import check_templates
from artifacts.doctor.unsent import check_unsent
from artifacts.store.data_dir import DataDir
from artifacts.store.shared.place import store_address
from artifacts.store.stored_bytes import StoredBytes
from artifacts.tracking.named import named, own_or
from flows.doctor.servers import check_ports, check_servers
from schemas.health import Checked, DoctorOutput, Finding
from tasks.runtime.progress import Progress, ProgressHub

MEBIBYTE = 2**20
CHECKS = (
    check_folder,
    check_tracking_database,
    check_prefect_database,
    check_tables,
    check_keys,
    check_runs,
    check_templates,
    check_unlisted,
    check_aliases,
    check_models,
    check_versions,
    check_checkpoints,
    check_shared_store,
    check_unsent,
    check_leftovers,
    check_locks,
    check_servers,
)
ROUNDS = 3
DAMAGED = 1  # the exit code where damage stays


def visit(root: Path, hub: ProgressHub, *, repair: bool) -> DoctorOutput:
    """What is found in a data folder and on this machine; with `repair`, what was done about it.

    Without `repair` nothing is changed and nothing is made, also where there is no data folder.
    """
    data_dir, started = DataDir(root), time.monotonic()
    reading = Reading(data_dir, hub)
    store = StoreLook(store_address())
    found = list(_look(data_dir, reading, store))
    repaired: list[Finding] = []
    aside = SetAside(data_dir)
    with _accounted_for(repaired, hub):
        for _ in range(ROUNDS if repair else 0):  # a table that was set aside leaves its key behind
            before = len(repaired)
            for one in _repair(found, aside):
                if one not in repaired:
                    repaired.append(one)
            if len(repaired) == before:
                break
            hub.log_message("looking again")
            reading, store = Reading(data_dir, hub), StoreLook(store_address())
            found = list(_look(data_dir, reading, store))
    findings = tuple(after_repair(one.finding) if repair else one.finding for one in found)
    damaged = sum(one.level == "damage" for one in findings)
    return DoctorOutput(
        folder=str(root),
        store=store.address or None,
        mlflow=_mlflow_elsewhere(data_dir),
        exists=root.is_dir(),
        checked=Checked(
            **reading.counts, read_bytes=reading.done, seconds=time.monotonic() - started
        ),
        damaged=damaged,
        findings=findings,
        repaired=tuple(repaired),
        set_aside=str(aside.folder) if aside.folder else None,
        exit_code=DAMAGED if damaged else 0,
    )


def _mlflow_elsewhere(data_dir: DataDir) -> str | None:
    """The MLflow whose runs the data folder's database does not have, as it may be shown."""
    told = named()
    own = not told.tracking or own_or(data_dir, told.tracking) == data_dir.tracking_uri
    return None if own else told.where


class Reading:
    """How much of the data folder was read, reported as it goes on."""

    def __init__(self, data_dir: DataDir, hub: ProgressHub) -> None:
        self.counts: dict[str, int] = {}
        self.done = 0
        self._hub = hub
        self._total = max(1, _bytes_to_read(data_dir) // MEBIBYTE)

    def __call__(self, count: int) -> None:
        self.done += count
        done = min(self.done // MEBIBYTE, self._total)
        self._hub.report(Progress("reading the data folder", done, self._total, "MiB"))


def _look(data_dir: DataDir, reading: Reading, store: StoreLook) -> Iterator[Found]:
    yield from check_versions_of_packages()
    yield from check_place(data_dir.root)
    yield from check_space(data_dir.root)
    yield from check_ports(data_dir)
    yield from check_store_answers(store)
    if not data_dir.root.is_dir():
        return

    try:
        recorded = recorded_in(data_dir)
    except (InUseError, UnreadableError):
        recorded = None
    at = Examination(
        data_dir,
        StoredBytes(reading),
        recorded,
        lambda: recorded_in(data_dir),
        reading.counts,
        store,
    )
    seen: set[tuple[str, str]] = set()
    for one in chain.from_iterable(check(at) for check in CHECKS):
        if _identity(one.finding) not in seen:  # several runs can name the same table
            seen.add(_identity(one.finding))
            yield one


def _identity(found: Finding) -> tuple[str, str]:
    return found.name, found.where


@contextlib.contextmanager
def _accounted_for(repaired: list[Finding], hub: ProgressHub) -> Iterator[None]:
    """What was done is told also where the block does not come to its end."""
    try:
        yield
    except BaseException:
        for one in repaired:
            hub.log_message(f"{one.name}  {one.where}: {one.repaired}")
        raise


def _repair(found: list[Found], aside: SetAside) -> Iterator[Finding]:
    """Do the safe part of each; what cannot be done, or has gone meanwhile, is left."""
    able = [(one.repair, one.finding) for one in found if one.repair is not None]
    for repair, found_so in sorted(able, key=lambda one: one[0].turn):
        if done := _done(repair, aside):
            yield found_so.model_copy(update={"repaired": done})


def _done(repair: Repair, aside: SetAside) -> str | None:
    """What a repair did, in words; whatever keeps it from its end, the others go on."""
    before = len(aside.moved)
    try:
        return repair.do(aside)
    except Exception as error:
        moved = len(aside.moved) > before
        if isinstance(error, FileNotFoundError) and not moved:
            return None
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        return f"{'set aside, and then ' * moved}not repaired: {reason}"


def _bytes_to_read(data_dir: DataDir) -> int:
    """How many bytes are in the files whose digests are compared; what has gone has none."""
    sizes = 0
    for folder in (data_dir.tables, data_dir.models, data_dir.checkpoints, data_dir.run_artifacts):
        for place, _, files in os.walk(folder):
            for name in files:
                with contextlib.suppress(OSError):
                    sizes += (Path(place) / name).stat().st_size
    return sizes
