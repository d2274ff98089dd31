"""Two data folders that share one bucket of a real S3, and what it answers to the wrong people."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.store.checkpoints import (
    CheckpointRecord,
    checkpoint_folder,
    drop_checkpoints,
    newest_checkpoint,
    write_checkpoint,
)
from artifacts.store.data_dir import DataDir
from artifacts.store.keys import TaskKey, task_key
from artifacts.store.policy_folders import PolicyFolders
from artifacts.store.shared.objects import VARIABLE, Objects, check_store
from artifacts.store.shared.place import shared_store
from artifacts.store.tables import Store
from flows.cli.parser import main
from policy.model.load import load_policy
from policy.model.tiny import make_tiny_model
from schemas.errors import InputError
from schemas.references import PolicyRef, TableRef
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs
from tests.seaweed import BUCKET, CLOSED, NOBODY, OWNER, READER, SeaweedServer

WRITERS = 16


def key_of(seed: int) -> TaskKey:
    return task_key("problems", "t", parents={"x": "y"}, config={"seed": seed})


def opened(address: str) -> Objects:
    objects = shared_store(address)
    assert objects is not None
    return objects


@pytest.fixture
def machines(tmp_path: Path) -> tuple[DataDir, DataDir]:
    """Two data folders that have nothing in common but the bucket."""
    return DataDir(tmp_path / "one"), DataDir(tmp_path / "two")


def keep_rows(root: Path, address: str, rows: int) -> TableRef:
    store = Store(DataDir(root), opened(address))
    return store.keep(key_of(1), arithmetic("dev").slice(0, rows))


def create(address: str, number: int, at: float) -> bool:
    objects = opened(address)
    time.sleep(max(0.0, at - time.time()))
    return objects.put_if_absent("keys/one.json", str(number).encode())


def test_of_sixteen_writers_of_one_name_one_is_first(bucket: str) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        began = time.time() + 2
        jobs = [pool.submit(create, bucket, number, began) for number in range(WRITERS)]
        first = [number for number, job in enumerate(jobs) if job.result()]
    assert len(first) == 1
    found = opened(bucket).get("keys/one.json")
    assert found is not None
    assert found.content == str(first[0]).encode()


def test_of_sixteen_machines_that_keep_one_result_all_have_the_first(
    bucket: str, tmp_path: Path
) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        kept = list(
            pool.map(
                keep_rows,
                [tmp_path / str(one) for one in range(WRITERS)],
                [bucket] * WRITERS,
                range(1, WRITERS + 1),
            )
        )
    assert len({reference.digest for reference in kept}) == 1
    assert Store(DataDir(tmp_path / "last"), opened(bucket)).find(key_of(1)) == kept[0]


def test_a_table_and_its_key_are_used_on_the_other_machine(
    bucket: str, machines: tuple[DataDir, DataDir]
) -> None:
    one, two = (Store(machine, opened(bucket)) for machine in machines)
    kept = one.keep(key_of(1), arithmetic("dev"))
    assert two.find(key_of(1)) == kept
    assert two.read(kept).equals(one.read(kept))
    assert two.path(kept).read_bytes() == one.path(kept).read_bytes()
    two.drop(key_of(1))
    assert Store(DataDir(machines[0].root.parent / "three"), opened(bucket)).find(key_of(1)) is None


def test_a_policy_is_fetched_once_checked_and_loaded(
    bucket: str, machines: tuple[DataDir, DataDir], tiny: str
) -> None:
    one, two = (PolicyFolders(machine, opened(bucket)) for machine in machines)
    digest = one.digest(Path(tiny))
    one.share(Path(tiny))
    folder = two.find(PolicyRef(name="m", digest=digest))
    assert machines[1].root in folder.parents
    assert load_policy(folder, name="m").digest == digest
    written = (folder / "model.safetensors").stat().st_ino
    assert two.fetch(digest) == folder
    assert (folder / "model.safetensors").stat().st_ino == written
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert two.fetch(digest) == folder
    assert load_policy(folder, name="m").digest == digest


def test_a_checkpoint_is_gone_on_from_on_the_other_machine_and_dropped_on_both(
    bucket: str, machines: tuple[DataDir, DataDir]
) -> None:
    objects, (one, two) = opened(bucket), machines
    for step in (1, 2, 3):
        folder = checkpoint_folder(one, "run", step)
        write_checkpoint(folder, saved(step), record(step), shared=objects)
    found = newest_checkpoint(two, "run", shared=objects)
    assert found.record.policy.step == 3
    assert (found.folder / "learner" / "state").read_bytes() == b"3"
    (found.folder / "learner" / "state").write_bytes(b"damaged here")
    again = newest_checkpoint(two, "run", shared=objects)
    assert (again.folder / "learner" / "state").read_bytes() == b"3"
    assert {name.split("/")[2] for name in objects.list("checkpoints/run")} == {
        "step-000002",
        "step-000003",
    }
    drop_checkpoints(two, "run", objects)
    assert objects.list("checkpoints/run") == []


def saved(step: int) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "state").write_bytes(str(step).encode())

    return save


def record(step: int) -> CheckpointRecord:
    return CheckpointRecord(
        policy=PolicyRef(name="p", digest="d" * 64, step=step),
        training=TableRef(kind="training", digest="e" * 64, rows=step),
    )


def test_a_large_object_is_whole(bucket: str, tmp_path: Path) -> None:
    content, objects = os.urandom(20 * 2**20 + 1), opened(bucket)
    (tmp_path / "weights").write_bytes(content)
    objects.put("files/large", tmp_path / "weights")
    assert objects.fetch("files/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_what_is_there_is_replaced_only_in_the_version_that_was_read(bucket: str) -> None:
    objects = opened(bucket)
    assert objects.get("one") is None
    assert not objects.replace("one", b"b", '"none"\n')
    objects.put("one", b"a")
    found = objects.get("one")
    assert found is not None
    assert objects.replace("one", b"b", found.version)
    assert not objects.replace("one", b"c", found.version)
    assert (objects.get("one") or found).content == b"b"
    objects.delete("one")
    objects.delete("one")
    assert not objects.exists("one")


not_allowed = pytest.mark.parametrize(
    ("user", "place", "said"),
    [
        (NOBODY, BUCKET, "no right to this"),
        (READER, BUCKET, "no right to this"),
        (OWNER, "no-such-bucket", "there is no such bucket"),
        (("who-is-this", "canary-secret-of-nobody-0000"), BUCKET, "does not know these"),
        ((OWNER[0], "canary-secret-that-is-wrong-0000"), BUCKET, "does not know these"),
        ((OWNER[0], ""), BUCKET, "credentials are missing"),
    ],
)


@not_allowed
def test_who_may_not_use_the_bucket_is_told_in_one_line(
    as_user: Callable[[tuple[str, str]], None],
    user: tuple[str, str],
    place: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    as_user(user)
    if not user[1]:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InputError, match=said) as refused:
        check_store(opened(f"s3://{place}/p"))
    line = str(refused.value)
    assert "\n" not in line
    assert "canary" not in line
    assert line.startswith(f"THREELOOPS_STORE=s3://{place}/p: ")
    assert CLOSED not in line


@not_allowed
def test_a_command_says_so_before_a_model_is_loaded_and_leaves_nothing(
    as_user: Callable[[tuple[str, str]], None],
    user: tuple[str, str],
    place: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    as_user(user)
    if not user[1]:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv(VARIABLE, f"s3://{place}/p")
    monkeypatch.setattr("flows.cli.verbs.loops.start_prefect", lambda *_: None)
    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", None)
    folder = str(make_tiny_model(tmp_path / "tiny"))
    for verb in ("eval", "select", "learn"):
        assert main([verb, "--model", folder, "--limit", "2"]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"threeloops: {VARIABLE}=s3://{place}/p: "), line
        assert said in line
        assert "canary" not in line
    monkeypatch.delenv(VARIABLE)
    assert not list((process_runtime().data_dir.root / "tables").rglob("*")), "half-written"
    assert all_runs() == []


def test_a_plain_address_needs_a_word_that_allows_it(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ALLOW_HTTP")
    with pytest.raises(InputError, match="set AWS_ALLOW_HTTP=true"):
        check_store(opened(bucket))


def test_who_may_read_alone_reads(
    bucket: str,
    as_user: Callable[[tuple[str, str]], None],
    machines: tuple[DataDir, DataDir],
) -> None:
    kept = Store(machines[0], opened(bucket)).keep(key_of(1), arithmetic("dev"))
    as_user(READER)
    store = Store(machines[1], opened(bucket))
    assert store.read(kept).num_rows == kept.rows
    with pytest.raises(InputError, match="no right to this"):
        store.write("problems", arithmetic("dev"), producer="t")


def test_a_server_that_answers_nobody_is_said_to_in_seconds(
    bucket: str, weed: SeaweedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(InputError, match=r"http://127.0.0.1:9 does not answer"):
        check_store(opened(bucket))
    assert time.monotonic() - began < 60
    monkeypatch.setenv("AWS_ENDPOINT_URL", weed.endpoint)
    check_store(opened(bucket))
    check_store(opened(bucket))
