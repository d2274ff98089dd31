"""What one data folder keeps in a shared store is used in another, checked by its digest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.store.checkpoints import (
    CheckpointRecord,
    checkpoint_folder,
    checkpoint_within,
    drop_checkpoints,
    newest_checkpoint,
    rename_checkpoints,
    write_checkpoint,
)
from artifacts.store.data_dir import DataDir
from artifacts.store.keys import TaskKey, task_key
from artifacts.store.policy_folders import PolicyFolders
from artifacts.store.shared.objects import Objects
from artifacts.store.shared.tables import table_name
from artifacts.store.tables import Store
from schemas.errors import InputError, StoreError
from schemas.identity import file_digest
from schemas.references import PolicyRef, TableRef

Machines = tuple[DataDir, DataDir]


def key_of(seed: int) -> TaskKey:
    return task_key("problems", "t", parents={"x": "y"}, config={"seed": seed})


def key_name(seed: int) -> str:
    return f"keys/{key_of(seed).digest}.json"


@pytest.fixture
def stores(shared: Objects, machines: Machines) -> tuple[Store, Store]:
    return Store(machines[0], shared), Store(machines[1], shared)


def test_a_table_is_found_by_its_key_and_kept_here(stores: tuple[Store, Store]) -> None:
    one, two = stores
    kept = one.keep(key_of(1), arithmetic("dev"))
    assert two.find(key_of(1)) == kept
    assert file_digest(two.root / "problems" / f"{kept.digest}.parquet") == kept.digest
    assert not (two.root / "keys").exists()
    assert two.lookup("problems", kept.digest) == kept
    assert two.columns("problems", kept.digest, ["prompt"]).num_rows == kept.rows


def test_the_first_to_keep_a_result_decides_for_both(stores: tuple[Store, Store]) -> None:
    one, two = stores
    kept = one.keep(key_of(1), arithmetic("dev").slice(0, 3))
    assert two.keep(key_of(1), arithmetic("dev").slice(0, 4)) == kept


def test_a_damaged_file_here_is_fetched_again(stores: tuple[Store, Store]) -> None:
    one, two = stores
    kept = one.keep(key_of(1), arithmetic("dev"))
    path = two.path(kept)
    for read in (
        lambda: two.read(kept),
        lambda: two.columns("problems", kept.digest, ["prompt"]),
        lambda: two.read(two.lookup("problems", kept.digest)),
    ):
        path.write_bytes(path.read_bytes()[:-1])
        assert read().num_rows == kept.rows
        assert file_digest(path) == kept.digest


def test_a_damaged_table_in_the_store_is_never_used_and_is_written_anew(
    stores: tuple[Store, Store], shared: Objects, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = stores
    kept = one.keep(key_of(1), arithmetic("dev"))
    shared.put(table_name("problems", kept.digest), b"damaged")
    with pytest.raises(StoreError, match="not that of its name"):
        two.read(kept)
    assert two.find(key_of(1)) is None
    assert "the result is computed anew" in caplog.text
    assert two.keep(key_of(1), arithmetic("dev")) == kept
    assert two.find(key_of(1)) == kept


@pytest.mark.parametrize("wrong", ["another's", "no reference"])
def test_a_wrong_key_is_put_right_by_one(
    stores: tuple[Store, Store], shared: Objects, wrong: str
) -> None:
    one, two = stores
    other = one.keep(key_of(2), arithmetic("dev"))
    said = other.model_dump_json().encode() if wrong == "another's" else b"{"
    shared.put(key_name(1), said)
    kept = one.keep(key_of(1), arithmetic("dev").slice(0, 3))
    assert kept.rows == 3
    assert two.keep(key_of(1), arithmetic("dev").slice(0, 4)) == kept
    assert two.find(key_of(2)) == other


def test_a_right_key_that_took_the_place_of_a_wrong_one_stays(
    stores: tuple[Store, Store], shared: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = stores
    other = one.keep(key_of(2), arithmetic("dev"))
    shared.put(key_name(1), other.model_dump_json().encode())
    right: list[TableRef] = []
    judge = one._behind

    def judge_slowly(key: TaskKey) -> TableRef | None:
        try:
            return judge(key)
        except StoreError:
            if not right:  # meanwhile the other one has proven it wrong too, and put it right
                right.append(two.keep(key_of(1), arithmetic("dev").slice(0, 4)))
            raise

    monkeypatch.setattr(one, "_behind", judge_slowly)
    assert one.keep(key_of(1), arithmetic("dev").slice(0, 3)) == right[0]


def test_what_is_dropped_is_gone_for_both(stores: tuple[Store, Store], shared: Objects) -> None:
    one, two = stores
    kept = one.keep(key_of(1), arithmetic("dev"))
    two.drop(key_of(1))
    assert shared.list("tables") == shared.list("keys") == []
    assert one.find(key_of(1)) is None
    with pytest.raises(StoreError):
        two.read(kept)


def test_what_a_data_folder_had_before_is_still_read(machines: Machines, shared: Objects) -> None:
    kept = Store(machines[0]).write("problems", arithmetic("dev"), producer="t")
    assert Store(machines[0], shared).read(kept).num_rows == kept.rows
    digest = "../../" + kept.digest
    with pytest.raises(StoreError, match="no such problems table"):
        Store(machines[0], shared).lookup("problems", digest)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("weights")
    (folder / "README.md").write_text("of no importance")
    return folder


def test_a_policy_is_fetched_whole_and_once(
    machines: Machines, shared: Objects, model: Path
) -> None:
    one, two = (PolicyFolders(machine, shared) for machine in machines)
    digest = one.digest(model)
    with pytest.raises(StoreError, match="not known on this machine"):
        two.find(PolicyRef(name="m", digest=digest))
    one.share(model)
    folder = two.find(PolicyRef(name="m", digest=digest))
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    for name in shared.list("files"):
        shared.delete(name)
    assert PolicyFolders(machines[1], shared).fetch(digest) == folder
    (folder / "model.safetensors").write_text("WEIGHTS")
    with pytest.raises(StoreError, match="is missing"):
        two.fetch(digest)


def test_a_policy_whose_file_was_changed_in_the_store_is_not_used(
    machines: Machines, shared: Objects, model: Path
) -> None:
    one, two = (PolicyFolders(machine, shared) for machine in machines)
    digest = one.digest(model)
    one.share(model)
    weights = file_digest(model / "model.safetensors")
    shared.put(f"files/{weights}", b"others")
    with pytest.raises(StoreError, match="were changed after they were written"):
        two.fetch(digest)
    assert not [path for path in machines[1].models.iterdir() if path.is_dir()]
    for listed in (b"{", b'{"../x": "' + weights.encode() + b'"}', b"[]"):
        shared.put(f"policies/{digest}.json", listed)
        with pytest.raises(StoreError, match="does not say which files"):
            two.fetch(digest)


def saved(text: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "state").write_text(text)

    return save


def record(step: int) -> CheckpointRecord:
    return CheckpointRecord(
        policy=PolicyRef(name="p", digest="d" * 64, step=step),
        training=TableRef(kind="training", digest="e" * 64, rows=step),
    )


def write(
    machine: DataDir, step: int, shared: Objects | None, text: str = "", keep: int = 0
) -> None:
    folder = checkpoint_folder(machine, "run", step)
    write_checkpoint(folder, saved(text or str(step)), record(step), keep=keep, shared=shared)


def state(machine: DataDir, shared: Objects | None) -> str:
    found = newest_checkpoint(machine, "run", shared=shared)
    return (found.folder / "learner" / "state").read_text()


def test_another_machine_goes_on_from_the_newest_checkpoint(
    machines: Machines, shared: Objects
) -> None:
    one, two = machines
    for step in (1, 2, 3):
        write(one, step, shared)
    assert state(two, shared) == "3"
    write(two, 4, shared)
    assert state(one, shared) == "4"
    steps = {name.split("/")[2] for name in shared.list("checkpoints/run")}
    assert steps == {"step-000003", "step-000004"}


def test_a_step_that_another_machine_made_anew_is_the_one_that_counts(
    machines: Machines, shared: Objects
) -> None:
    one, two = machines
    for step in (1, 2, 3):
        write(one, step, shared, keep=3)
    within = checkpoint_within(two, "run", 1, shared=shared)
    assert within is not None
    assert within.record.policy.step == 1
    write(two, 2, shared, "anew")
    assert state(one, shared) == "anew"


def test_what_was_sent_in_part_is_no_checkpoint(machines: Machines, shared: Objects) -> None:
    one, two = machines
    write(one, 1, shared)
    shared.put("checkpoints/run/step-000002/learner/state", b"half")
    assert state(two, shared) == "1"
    write(two, 3, shared)
    assert not shared.list("checkpoints/run/step-000002")


def test_a_name_that_leads_out_of_the_folder_is_not_fetched(
    machines: Machines, shared: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machines
    write(one, 1, shared)
    there, fetch = shared.list("checkpoints/run"), shared.fetch
    fetched: list[str] = []
    bad = [f"checkpoints/run/step-000001/{name}" for name in ("../../../out", "/tmp/out", "a//b")]

    def note(name: str, path: Path) -> bool:
        fetched.append(name)
        return fetch(name, path)

    monkeypatch.setattr(shared, "list", lambda folder: there + bad)
    monkeypatch.setattr(shared, "fetch", note)
    assert state(two, shared) == "1"
    assert sorted(fetched) == there


def test_a_damaged_checkpoint_is_passed_over(machines: Machines, shared: Objects) -> None:
    one, two = machines
    for step in (1, 2):
        write(one, step, shared)
    shared.put("checkpoints/run/step-000002/learner/state", b"damaged")
    lines: list[str] = []
    found = newest_checkpoint(two, "run", lines.append, shared=shared)
    assert found.record.policy.step == 1
    assert "step-000002" in lines[0]


def test_checkpoints_are_dropped_on_both(machines: Machines, shared: Objects) -> None:
    one, two = machines
    for step in (1, 2, 3):
        write(one, step, shared, keep=3)
    drop_checkpoints(two, "run", shared, keep=1)
    assert {name.split("/")[2] for name in shared.list("checkpoints/run")} == {"step-000003"}
    drop_checkpoints(two, "run", shared)
    assert shared.list("checkpoints/run") == []
    with pytest.raises(InputError, match="has no checkpoint"):
        newest_checkpoint(two, "run", shared=shared)


def test_checkpoints_from_before_there_was_a_store_are_used(
    machines: Machines, shared: Objects
) -> None:
    write(machines[0], 1, None)
    assert state(machines[0], shared) == "1"


def test_a_newer_checkpoint_that_could_not_be_sent_is_gone_on_from(
    machines: Machines, shared: Objects
) -> None:
    one, two = machines
    write(one, 1, shared)
    write(one, 2, None)
    assert state(one, shared) == "2"
    assert state(two, shared) == "1"
    within = checkpoint_within(one, "run", 2, shared=shared)
    assert within is not None
    assert within.record.policy.step == 2
    newest = checkpoint_folder(one, "run", 2) / "learner" / "state"
    newest.write_text("damaged")
    assert state(one, shared) == "1"


def test_what_could_not_be_sent_does_not_count_once_another_machine_went_on(
    machines: Machines, shared: Objects
) -> None:
    one, two = machines
    write(one, 1, shared)
    write(one, 3, None)
    write(two, 2, shared, "theirs")
    assert state(one, shared) == "theirs"


def test_the_newest_in_the_store_stays_where_a_newer_one_was_not_sent(
    machines: Machines, shared: Objects
) -> None:
    one, two = machines
    write(one, 1, shared)
    write(one, 2, None)
    drop_checkpoints(one, "run", shared, keep=1)
    assert state(two, shared) == "1"


def names(shared: Objects, run: str) -> list[str]:
    return [name.removeprefix(f"checkpoints/{run}/") for name in shared.list(f"checkpoints/{run}")]


def there(machine: DataDir, run: str) -> list[str]:
    return sorted(path.name for path in machine.checkpoints.glob(f"{run}/*"))


@pytest.mark.parametrize("lies_here", [True, False])
def test_a_run_that_gets_another_id_has_its_checkpoints_under_that(
    machines: Machines, shared: Objects, lies_here: bool
) -> None:
    one, two = machines
    for step in (1, 2):
        write(one, step, shared)
    before = names(shared, "run")
    rename_checkpoints(one if lies_here else two, "run", "renamed", shared)
    assert names(shared, "run") == []
    assert names(shared, "renamed") == before
    assert there(one if lies_here else two, "run") == []
    assert there(one if lies_here else two, "renamed") == ["step-000001", "step-000002"]
    found = newest_checkpoint(machines[1], "renamed", shared=shared)
    assert (found.folder / "learner" / "state").read_text() == "2"
    rename_checkpoints(one if lies_here else two, "run", "renamed", shared)
    assert names(shared, "renamed") == before


@pytest.mark.parametrize("calls", range(1, 14))
def test_a_renaming_that_was_stopped_is_done_again(
    machines: Machines, shared: Objects, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = machines
    for step in (1, 2):
        write(one, step, shared)
    before, left = names(shared, "run"), [calls]
    put, delete = shared.put, shared.delete

    def counted(act: Callable[..., None]) -> Callable[..., None]:
        def do(*arguments: object) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            act(*arguments)

        return do

    with monkeypatch.context() as stopped, contextlib.suppress(KeyboardInterrupt):
        stopped.setattr(shared, "put", counted(put))
        stopped.setattr(shared, "delete", counted(delete))
        rename_checkpoints(one, "run", "renamed", shared)
    rename_checkpoints(one, "run", "renamed", shared)
    assert names(shared, "run") == []
    assert names(shared, "renamed") == before
    found = newest_checkpoint(two, "renamed", shared=shared)
    assert (found.folder / "learner" / "state").read_text() == "2"


def test_checkpoints_of_a_data_folder_without_a_store_are_renamed_too(machines: Machines) -> None:
    write(machines[0], 1, None)
    rename_checkpoints(machines[0], "run", "renamed")
    assert (there(machines[0], "run"), there(machines[0], "renamed")) == ([], ["step-000001"])
    rename_checkpoints(machines[0], "none", "other")
    assert not (machines[0].checkpoints / "other").exists()


def test_a_checkpoint_of_the_same_step_that_another_machine_sent_stays(
    machines: Machines, shared: Objects
) -> None:
    one, two = machines
    write(one, 1, shared)

    def lost() -> None:  # it slept while it saved, and meanwhile the other one has gone on
        raise InputError("it is another machine's")

    def save(folder: Path) -> None:
        saved("mine")(folder)
        write(two, 2, shared)

    folder = checkpoint_folder(one, "run", 2)
    with pytest.raises(InputError):
        write_checkpoint(folder, save, record(2), shared=shared, still_ours=lost)
    assert names(shared, "run")[-2:] == ["step-000002/checkpoint.json", "step-000002/learner/state"]
    assert state(two, shared) == "2"


@pytest.mark.parametrize("sent", range(5))
def test_a_checkpoint_that_is_half_sent_when_the_run_is_lost_is_none_and_deletes_none(
    machines: Machines, shared: Objects, sent: int
) -> None:
    one, two = machines
    write(one, 1, shared)
    left = [sent]

    def still_ours() -> None:
        left[0] -= 1
        if left[0] == -1:  # it slept, and meanwhile the other one has gone on
            write(two, 3, shared)
        if left[0] < 0:
            raise InputError("it is another machine's")

    folder = checkpoint_folder(one, "run", 2)
    with contextlib.suppress(InputError):
        write_checkpoint(folder, saved("2"), record(2), shared=shared, still_ours=still_ours)
        assert sent == 4
    assert state(two, shared) == ("2" if sent == 4 else "3")
    steps = {name.split("/")[2] for name in shared.list("checkpoints/run")}
    assert ("step-000003" in steps) == (sent < 4)
