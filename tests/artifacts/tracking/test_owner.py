"""A run whose process was killed is closed by the next command."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import NoReturn

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.lease import SECONDS, Lease, Watch
from artifacts.store.shared.owners import Owners, owner_lease
from artifacts.tracking.archive import Archive
from artifacts.tracking.owner import LEASE, close_abandoned
from artifacts.tracking.run import Place, tracked_run
from artifacts.unsent.owned import OWNER
from schemas.config import EvalConfig
from schemas.loops import EVALUATION


def test_the_next_command_closes_a_run_that_was_killed_and_says_so(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    tags = {"threeloops.loop": "A", OWNER: f"{platform.node()} 999999999 5.0"}
    killed = client.create_run(experiment, tags=tags, run_name="eval").info.run_id
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as running:
        found = {run.run_id: run for run in Archive(archive.data_dir).history.every()}
        assert found[killed].status == "KILLED"
        assert found[killed].name == f"eval-{killed[:6]}"
        assert "ended from outside" in found[killed].tags["error"]
        assert found[running.run_id].status == "RUNNING", "its process is this one"
    assert [record.getMessage() for record in caplog.records] == [
        f"eval-{killed[:6]} was cut off: its process was ended from outside, and could not say so; "
        "it is listed as killed from now on"
    ]


def test_a_run_of_another_machine_is_closed_when_its_lease_is_over(
    archive: Archive, tmp_path: Path
) -> None:
    now = [100.0]
    (tmp_path / "mounted").mkdir()
    shared = FolderObjects(tmp_path / "mounted")
    far = "another-machine:4026531836 77 12.0"
    lease = Lease(shared, owner_lease(far))
    assert lease.try_acquire(Watch())
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    tags = {OWNER: far, LEASE: owner_lease(far)}
    lives = client.create_run(experiment, tags=tags, run_name="learn")
    other = client.create_run(experiment, tags={OWNER: far}, run_name="learn")

    def closed() -> list[str]:
        owners = Owners(shared, tmp_path / "notes.json", lambda: now[0])
        return close_abandoned(client, experiment, owners=owners)

    assert closed() == []
    now[0] += SECONDS
    assert lease.still_mine()
    assert closed() == []
    now[0] += 2 * SECONDS
    assert closed() == [f"learn-{lives.info.run_id[:6]}"]
    assert client.get_run(lives.info.run_id).info.status == "KILLED"
    assert client.get_run(other.info.run_id).info.status == "RUNNING"


def test_who_may_only_read_is_told_so_and_can_read(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    tags = {"threeloops.loop": "A", OWNER: f"{platform.node()} 999999999 5.0"}
    killed = client.create_run(experiment, tags=tags, run_name="eval").info.run_id

    def refuse(*_: object, **__: object) -> NoReturn:
        raise MlflowException("Permission denied", PERMISSION_DENIED)

    for name in ("set_tag", "update_run", "set_terminated"):
        monkeypatch.setattr(MlflowClient, name, refuse)
    (found,) = Archive(archive.data_dir).history.every()
    assert (found.run_id, found.status) == (killed, "RUNNING")
    assert [record.getMessage() for record in caplog.records] == [
        "runs of processes that have ended cannot be closed: the server does not allow it (403)"
    ]
