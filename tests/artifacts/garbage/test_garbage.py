"""What nothing refers to is found and dropped; whatever is referred to, or used, stays."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from artifacts.garbage.dropped import drop_garbage
from artifacts.garbage.found import Found, find_garbage
from artifacts.garbage.references import references_of
from artifacts.store.checkpoints import checkpoint_folder
from artifacts.store.in_use import InUse
from artifacts.store.keys import TaskKey, task_key
from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, tracked_run
from artifacts.unsent.journal import begin_journal
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.loops import EVALUATION
from schemas.references import TableRef

DAY = 24 * 3600.0


def problems(number: int) -> pa.Table:
    row = {
        "problem_id": f"p{number}",
        "prompt": f"What is {number} + 0?",
        "expected_answer": str(number),
        "family": "addition",
        "split": "train",
    }
    return pa.Table.from_pylist([row])


def key_of(number: int, parents: dict[str, str] | None = None) -> TaskKey:
    return task_key("problems", "test", parents=parents, config={"number": number})


def kept(archive: Archive, number: int, parents: dict[str, str] | None = None) -> TableRef:
    """A table with its key."""
    return archive.store.keep(key_of(number, parents), problems(number))


def named_by_run(archive: Archive, table: TableRef) -> str:
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as run:
        run.tag(**{"table.problems": f"problems:{table.digest}"})
    return run.run_id


def age(archive: Archive, days: float = 3) -> None:
    """Let every file seem to be made and used so long ago."""
    then = time.time() - days * DAY
    for folder in (archive.data_dir.tables, archive.data_dir.checkpoints):
        for path in [folder, *folder.rglob("*")]:
            if path.exists():
                os.utime(path, (then, then))


def found(archive: Archive) -> Found:
    return find_garbage(archive, references_of(archive), 24)


def names(archive: Archive) -> set[str]:
    return {one.path.stem for one in found(archive).garbage}


def there(archive: Archive, table: TableRef) -> bool:
    return (archive.data_dir.tables / "problems" / f"{table.digest}.parquet").exists()


def test_what_a_run_names_stays_with_what_it_was_made_from_and_the_rest_goes(
    archive: Archive,
) -> None:
    parent = kept(archive, 1)
    child = kept(archive, 2, {"problems": parent.digest})
    lost = kept(archive, 3)
    named_by_run(archive, child)
    age(archive)
    garbage = found(archive)
    assert {one.path.stem for one in garbage.garbage} == {lost.digest, key_of(3).digest}
    assert garbage.kept_tables == 2
    drop_garbage(archive, garbage)
    assert [there(archive, one) for one in (parent, child, lost)] == [True, True, False]
    assert archive.store.find(key_of(3)) is None
    assert archive.store.find(key_of(2, {"problems": parent.digest})) == child
    assert names(archive) == set()


def test_what_was_made_lately_stays(archive: Archive) -> None:
    lost = kept(archive, 1)
    assert names(archive) == set()
    age(archive, 0.9)
    assert names(archive) == set()
    age(archive, 1.1)
    assert lost.digest in names(archive)


def test_the_tables_of_a_deleted_run_go(archive: Archive) -> None:
    table = kept(archive, 1)
    run_id = named_by_run(archive, table)
    age(archive)
    assert names(archive) == set()
    archive.tracking.client.delete_run(run_id)
    assert table.digest in names(archive)


def test_a_run_under_way_keeps_all_that_was_used_since_it_began(archive: Archive) -> None:
    lost, older = kept(archive, 1), kept(archive, 2)
    age(archive)
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()):
        references = references_of(archive)
        assert len(references.underway) == 1
        assert references.underway_since_ms is not None
        references.underway_since_ms = int((time.time() - 4 * DAY) * 1000)
        assert find_garbage(archive, references, 24).garbage == ()
    assert {lost.digest, older.digest} <= names(archive)


def test_what_is_used_after_it_was_found_stays_with_its_key(archive: Archive) -> None:
    used, lost = kept(archive, 1), kept(archive, 2)
    age(archive)
    garbage = found(archive)
    assert archive.store.find(key_of(1)) == used, "a task of another command finds its result"
    gone = drop_garbage(archive, garbage)
    assert {one.path.stem for one in gone} == {lost.digest, key_of(2).digest}
    assert archive.store.find(key_of(1)) == used


def test_a_table_that_is_written_again_is_used(archive: Archive) -> None:
    table = kept(archive, 1)
    age(archive)
    garbage = found(archive)
    archive.store.keep(key_of(1), problems(1))
    drop_garbage(archive, garbage)
    assert there(archive, table)


def test_what_another_process_holds_stays(archive: Archive) -> None:
    table = kept(archive, 1)
    age(archive)
    other = InUse()
    other.hold(archive.data_dir.tables / "problems" / f"{table.digest}.parquet")
    drop_garbage(archive, found(archive))
    assert there(archive, table)


def test_one_that_is_killed_loses_nothing_and_the_next_goes_on(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, lost = kept(archive, 1), [kept(archive, number) for number in (2, 3)]
    named_by_run(archive, named)
    age(archive)

    class Killed(BaseException):
        pass

    def killed(count: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        drop_garbage(archive, found(archive), killed)
    assert there(archive, named)
    assert sum(there(archive, one) for one in lost) == 1, "with the key of the other"
    assert len(names(archive)) == 3
    drop_garbage(archive, found(archive))
    assert names(archive) == set()
    assert archive.store.find(key_of(1)) == named


def test_what_a_server_is_still_to_be_told_stays(archive: Archive) -> None:
    table = kept(archive, 1)
    age(archive)
    journal = begin_journal(archive.data_dir, "mlflow", "http://localhost:1")
    journal.keep({"call": "set tag", "id": "x", "value": f"problems:{table.digest}"})
    assert table.digest in references_of(archive).digests
    journal.close()


def test_the_tables_that_a_decision_was_made_on_stay(archive: Archive) -> None:
    table = kept(archive, 1)
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as run:
        pass
    folder = archive.history.find(run.run_id).folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decision.json").write_text(f'{{"tables": {{"problems": "{table.digest}"}}}}')
    age(archive)
    assert names(archive) == set()


def test_checkpoints_go_with_their_run_and_stay_while_it_can_be_resumed(archive: Archive) -> None:
    table = kept(archive, 1)
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as run:
        pass
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as gone:
        pass
    archive.tracking.client.delete_run(gone.run_id)
    unknown = "0" * 32  # it may be a run of an MLflow that is not named now
    for run_id in (run.run_id, gone.run_id, unknown):
        folder = checkpoint_folder(archive.data_dir, run_id, 1)
        folder.mkdir(parents=True)
        (folder / "checkpoint.json").write_text(f'{{"training": "{table.digest}"}}')
    age(archive)
    assert {one.path.name for one in found(archive).garbage} == {gone.run_id}
    drop_garbage(archive, found(archive))
    left = {path.name for path in archive.data_dir.checkpoints.iterdir()}
    assert left == {run.run_id, unknown}
    assert there(archive, table)


@pytest.mark.parametrize("place", ["mlartifacts", "mlflow-cache/runs"])
def test_nothing_is_judged_where_runs_are_in_an_mlflow_that_is_not_named(
    archive: Archive, place: str
) -> None:
    (archive.data_dir.root / place / ("a" * 32)).mkdir(parents=True)
    with pytest.raises(InputError, match="name the MLflow that has them"):
        references_of(archive)


def test_nothing_is_judged_where_a_table_that_is_named_cannot_be_read(archive: Archive) -> None:
    table = kept(archive, 1)
    named_by_run(archive, table)
    (archive.data_dir.tables / "problems" / f"{table.digest}.parquet").write_bytes(b"damaged")
    with pytest.raises(InputError, match="what it was made from is not known"):
        found(archive)


def test_a_store_of_several_machines_is_left_alone(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "shared"
    store.mkdir()
    monkeypatch.setenv("THREELOOPS_STORE", store.as_uri())
    sharing = Archive(archive.data_dir)
    table = kept(sharing, 1)
    age(sharing)
    there_before = sorted(path for path in store.rglob("*") if path.is_file())
    gone = drop_garbage(sharing, found(sharing))
    assert [one.path.stem for one in gone] == [table.digest], "the copy that is here"
    assert sorted(path for path in store.rglob("*") if path.is_file()) == there_before
    assert sharing.store.find(key_of(1)) == table, "it is fetched again"
