"""A shared store is looked at and left as it is: whether it answers, what it lacks, who is gone."""

from __future__ import annotations

import platform
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from artifacts.doctor.databases import recorded_in
from artifacts.doctor.examination import Examination, Found
from artifacts.doctor.models import check_versions
from artifacts.doctor.runs import check_runs
from artifacts.doctor.shared_store import check_shared_store, check_store_answers
from artifacts.doctor.store_look import StoreLook
from artifacts.registry.versions import register_version
from artifacts.store.atomic_file import write_atomic
from artifacts.store.checkpoints import CheckpointRecord, checkpoint_folder, write_checkpoint
from artifacts.store.data_dir import DataDir
from artifacts.store.process import this_process
from artifacts.store.shared import owners
from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.lease import SECONDS, Written, lease_name
from artifacts.store.shared.objects import LAYOUT, MARK
from artifacts.store.shared.owners import SEEN, Seen, owner_lease
from artifacts.store.shared.tables import table_name
from artifacts.store.stored_bytes import StoredBytes
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from artifacts.tracking.run import Place, tracked_run
from schemas.config import LearningConfig
from schemas.loops import LEARNING
from schemas.references import PolicyRef, TableRef
from tests.artifacts.measuring import (
    collected,
    evaluated,
    learned,
    measure,
    policy_in,
    step_tables,
)

Look = Callable[[], Examination]
Repaired = Callable[[Iterable[Found]], list[str | None]]
GONE = f"{platform.node()} 999999999 5.0"
FAR = "another-machine:4026531836 77 12.0"


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderObjects:
    """A folder that machines share, which the environment names."""
    (tmp_path / "mounted").mkdir()
    monkeypatch.setenv("THREELOOPS_STORE", (tmp_path / "mounted").as_uri())
    found = FolderObjects(tmp_path / "mounted")
    found.put(MARK, LAYOUT)
    return found


@pytest.fixture
def here(archive: Archive, mounted: FolderObjects) -> Archive:
    """The data folder, with that store."""
    return Archive(archive.data_dir)


@pytest.fixture
def look(data_dir: DataDir, mounted: FolderObjects) -> Look:
    """A function that begins a look at both as they are then."""
    return lambda: Examination(
        data_dir,
        StoredBytes(),
        recorded_in(data_dir),
        lambda: recorded_in(data_dir),
        store=StoreLook(mounted.address),
    )


def names(found: Iterable[Found]) -> list[str]:
    return [one.finding.name for one in found]


def content(mounted: FolderObjects) -> dict[str, bytes]:
    below = (path for path in mounted.folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in below}


@pytest.fixture
def run(here: Archive) -> RunRecord:
    """A learning run of two steps, whose tables are in the store and here."""
    before, after = measure(here.store, "rw", "wc"), measure(here.store, "rr", "rc")
    steps = [measure(here.store, answers, split="train") for answers in ("rw", "wr")]
    training = collected(here.store, step_tables(here.store, *steps)[-1])
    return learned(here, before, after, training)


def test_what_only_the_store_has_is_not_missing(
    run: RunRecord, look: Look, data_dir: DataDir, mounted: FolderObjects
) -> None:
    before = content(mounted)
    assert names(check_runs(look())) == ["missing-result"], "it was made by hand"
    assert names(check_shared_store(at := look())) == []
    assert at.counts["shared"] >= 7
    shutil.rmtree(data_dir.tables)
    assert names(check_runs(look())) == ["missing-result"]
    assert names(check_shared_store(look())) == []
    assert content(mounted) == before
    assert not data_dir.tables.exists()


def test_what_is_here_alone_is_told_and_sent_by_a_repair(
    run: RunRecord, look: Look, repaired: Repaired, mounted: FolderObjects
) -> None:
    step = mounted.list("tables/step")[0]
    kind, digest = run.table_refs()["scores_after"]
    for name in (table_name(kind, digest), step):
        mounted.delete(name)
    before = content(mounted)
    found = list(check_shared_store(look()))
    assert names(found) == ["not-in-store", "not-in-store"]
    told = {one.finding.what for one in found}
    assert f"the table scores_after of run {run.name} is in this data folder alone" in told
    assert any(what.startswith("a table of step ") for what in told)
    assert content(mounted) == before, "looking changes nothing"
    assert repaired(found) == [f"sent to {mounted.address}"] * 2
    assert names(check_shared_store(look())) == []


def test_what_is_damaged_here_is_not_sent(
    run: RunRecord, look: Look, repaired: Repaired, data_dir: DataDir, mounted: FolderObjects
) -> None:
    kind, digest = run.table_refs()["scores_after"]
    mounted.delete(table_name(kind, digest))
    (data_dir.tables / kind / f"{digest}.parquet").write_bytes(b"damaged")
    assert repaired(check_shared_store(look())) == [None]
    assert not mounted.exists(table_name(kind, digest))


def test_what_is_nowhere_is_missing(
    run: RunRecord, look: Look, data_dir: DataDir, mounted: FolderObjects
) -> None:
    kind, digest = run.table_refs()["scores_after"]
    mounted.delete(table_name(kind, digest))
    (data_dir.tables / kind / f"{digest}.parquet").unlink()
    assert sorted(names(check_runs(look()))) == ["missing-result", "missing-table"]
    assert names(check_shared_store(look())) == []


def test_a_version_is_whole_in_the_store_or_here(
    here: Archive, look: Look, repaired: Repaired, mounted: FolderObjects, tmp_path: Path
) -> None:
    policy = policy_in(here, tmp_path / "made")
    run = evaluated(here, measure(here.store, "rw", policy=policy))
    register_version(here, "mine", policy, tmp_path / "made", run.run_id, "a card")
    found = list(check_shared_store(look()))
    assert [one.finding.what for one in found] == [
        "the files of models:/mine/1 are in this data folder alone"
    ]
    assert repaired(found) == [f"sent to {mounted.address}"]
    assert names(check_shared_store(look())) == []
    shutil.rmtree(tmp_path / "made")
    assert names(check_versions(look())) == []
    mounted.delete(f"policies/{policy.digest}.json")
    assert set(names(check_versions(look()))) == {"missing-version"}


def test_a_checkpoint_that_lacks_a_file_in_the_store_is_told(
    here: Archive, look: Look, mounted: FolderObjects
) -> None:
    with (
        pytest.raises(RuntimeError),
        tracked_run(here, LEARNING, LearningConfig(steps=4), Place()) as run,
    ):
        raise RuntimeError("it ended early")
    at = CheckpointRecord(
        policy=PolicyRef(name="m", digest="b" * 64, step=2),
        training=TableRef(kind="training", digest="a" * 64, rows=2),
    )

    def save(learner: Path) -> None:
        learner.mkdir()
        (learner / "weights.safetensors").write_bytes(b"weights")

    folder = checkpoint_folder(here.data_dir, run.run_id, 2)
    write_checkpoint(folder, save, at, shared=mounted)
    assert names(check_shared_store(look())) == []
    name = f"checkpoints/{run.run_id}/step-000002"
    mounted.delete(f"{name}/learner/weights.safetensors")
    (found,) = check_shared_store(look())
    assert (found.finding.name, found.finding.where) == ("damaged-in-store", name)
    assert "learner/weights.safetensors is not in the store" in found.finding.what
    mounted.put(f"{name}/checkpoint.json", b"{")
    (found,) = check_shared_store(look())
    assert found.finding.what.endswith("cannot be read")


def held_by(mounted: FolderObjects, name: str, holder: str) -> None:
    mounted.put(lease_name(name), Written(holder=holder, nonce="n").model_dump_json().encode())


def test_leases_of_processes_that_are_gone_are_told(
    here: Archive, look: Look, mounted: FolderObjects
) -> None:
    held_by(mounted, "run-1", GONE)
    held_by(mounted, "run-2", this_process())
    held_by(mounted, "run-3", FAR)
    held_by(mounted, "run-4", "")
    held_by(mounted, owner_lease(FAR), FAR)
    mounted.put("leases/gate.holder", b"another process")
    mounted.put("leases/gate.lock", b"")
    found = list(check_shared_store(at := look()))
    assert [(one.finding.name, one.finding.where) for one in found] == [
        ("dead-lease", "leases/run-1")
    ]
    assert at.counts["leases"] == 4
    notes = here.data_dir.locks / "owners.json"
    assert not notes.exists(), "it notes nothing itself"

    seen = mounted.get(lease_name(owner_lease(FAR)))
    assert seen is not None
    for ago, dead in ((SECONDS, 1), (2 * SECONDS, 3)):  # an earlier command has seen it
        since = time.monotonic() - ago
        noted = Seen(version=seen.version, boot=owners._boot(), since=since)
        write_atomic(notes, SEEN.dump_json({owner_lease(FAR): noted}))
        assert names(check_shared_store(look())) == ["dead-lease"] * dead


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("file:///nowhere/at/all", "there is no such folder"),
        ("s3://me:secret@bucket", "has a login or settings in it"),
        ("nothing", "is no address of a store"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_damage_and_the_rest_is_looked_at(
    address: str, told: str, data_dir: DataDir, archive: Archive
) -> None:
    store = StoreLook(address)
    (found,) = check_store_answers(store)
    assert (found.finding.name, found.finding.level) == ("store-unusable", "damage")
    assert told in found.finding.what
    assert "secret" not in found.finding.model_dump_json() + store.address
    at = Examination(data_dir, StoredBytes(), recorded_in(data_dir), lambda: None, store=store)
    assert list(check_shared_store(at)) == []
    assert list(check_runs(at)) == []


def test_a_store_of_another_layout_is_told(mounted: FolderObjects, look: Look) -> None:
    mounted.put(MARK, b"{}")
    (found,) = check_store_answers(look().store)
    assert "is another program's, or a newer version's" in found.finding.what
    assert list(check_shared_store(look())) == []


def test_without_a_store_nothing_is_looked_for(data_dir: DataDir, archive: Archive) -> None:
    at = Examination(data_dir, StoredBytes(), recorded_in(data_dir), lambda: None)
    assert list(check_store_answers(at.store)) == list(check_shared_store(at)) == []
    assert "shared" not in at.counts
