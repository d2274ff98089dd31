"""What is kept is sent at most once, and blocks nothing that it is not about."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from artifacts.store.data_dir import DataDir
from artifacts.store.process import this_process
from artifacts.tracking import connection
from artifacts.tracking.archive import Archive
from artifacts.tracking.named import SERVER
from artifacts.tracking.owner import CUT_OFF, ERROR, flow_runs_cut_off
from artifacts.tracking.run import Place, tracked_run
from artifacts.unsent.answers import UnreachableError
from artifacts.unsent.journal import (
    SENT,
    begin_journal,
    read_sent,
    refusal,
    unsent_files,
    unsent_folder,
)
from artifacts.unsent.owned import OWNER
from artifacts.unsent.send import send_to_mlflow
from artifacts.unsent.servers import Server
from artifacts.unsent.way import Way
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.loops import EVALUATION
from tests.mlflow_server import LOSE_ANSWER, PASS, REFUSE, Between

CONFIG = EvalConfig(samples=2)
GONE = f"{platform.node()} 999999999 5.0"
Open = Callable[[], Archive]


def cut_off(archive: Archive) -> str:
    """A run whose process is gone; its id."""
    tags = {"threeloops.loop": "A", OWNER: GONE}
    client = archive.tracking.client
    return str(client.create_run(archive.tracking.experiment_id, tags=tags).info.run_id)


def status(archive: Archive, run_id: str) -> str:
    return str(archive.tracking.client.get_run(run_id).info.status)


def values(archive: Archive, run_id: str, name: str) -> list[tuple[int, float]]:
    history = archive.tracking.client.get_metric_history(run_id, name)
    return sorted((one.step, one.value) for one in history)


def kept_by_a_process_that_ended(way: Between, opened: Open, *, fails: bool = False) -> str:
    """The id of a run whose process kept its steps 1 to 3, and how it ended."""
    reading, writing = os.pipe()
    began = len(way.paths)
    # the parameters are told, and the first step
    way.decide = lambda path: (
        REFUSE if sum("log-batch" in one for one in way.paths[began:]) > 2 else PASS
    )
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with tracked_run(opened(), EVALUATION, CONFIG, Place()) as run:
                os.write(writing, run.run_id.encode())
                for step in range(4):
                    run.metrics({"reward": float(step)}, step=step)
                if fails:
                    raise InputError("the reason")
            code = 0
        finally:
            os._exit(code)
    os.waitpid(child, 0)
    way.decide = lambda path: PASS
    os.close(writing)
    run_id = os.read(reading, 100).decode()
    os.close(reading)
    return run_id


@pytest.mark.parametrize("how", ["deleted", "missing"])
def test_what_is_for_a_run_that_was_deleted_is_done(
    how: str, way: Between, opened: Open, data_dir: DataDir, caplog: pytest.LogCaptureFixture
) -> None:
    archive = opened()
    dead = cut_off(archive)
    with tracked_run(archive, EVALUATION, CONFIG, Place()) as run:
        way.decide = lambda path: REFUSE
        run.metrics({"reward": 0.5})
        run.tag(model="tiny")
    way.decide = lambda path: PASS
    page = MlflowClient(way.uri, way.uri)
    if how == "deleted":
        page.delete_run(run.run_id)
    else:
        (path,) = unsent_files(data_dir, "mlflow")
        before = archive.tracking.server
        path.unlink()
        journal = begin_journal(data_dir, "mlflow", way.uri, before.identity)
        for call, words in (
            ("log metrics and parameters", {"metrics": [], "params": [["a", "b"]]}),
            ("set tag", {"key": "k", "value": "v"}),
            ("end run", {"status": "FINISHED", "end": 5}),
        ):
            journal.keep({"call": call, "run": "0" * 32, **words})
        journal.close()
        page.set_terminated(run.run_id)

    later = opened()
    assert status(later, dead) == "KILLED"
    assert later.tracking.unsent.left == 0
    assert later.tracking.unsent.gone == {"for a run that was deleted": 3}
    assert "3 records for a run that was deleted" in caplog.text
    assert unsent_files(data_dir, "mlflow") == []
    later.tracking.refuse_unsent("promote")


def test_what_is_for_a_model_or_version_that_was_deleted_is_done(
    way: Between, opened: Open, data_dir: DataDir
) -> None:
    archive = opened()
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    page = MlflowClient(way.uri, way.uri)
    model = client.create_logged_model(experiment, "m").model_id
    name = f"deleted-{experiment}"
    client.create_registered_model(name)
    page.create_registered_model(f"{name}-2")
    page.create_registered_model(f"{name}-3")
    folder = data_dir.run_artifacts / "models" / model / "artifacts"
    held = page.create_model_version(f"{name}-3", folder.as_uri(), model_id=model).version
    page.set_registered_model_alias(f"{name}-3", "candidate", held)
    version = client.create_model_version(name, folder.as_uri(), model_id=model).version
    way.decide = lambda path: REFUSE
    client.set_logged_model_tags(model, {"a": "b"})
    client.set_registered_model_alias(name, "candidate", version)
    for other in (f"{name}-2", f"{name}-3"):
        another = client.create_model_version(other, folder.as_uri(), model_id=model).version
        client.set_registered_model_alias(other, "candidate", another)
    way.decide = lambda path: PASS
    page.delete_logged_model(model)
    page.delete_model_version(name, version)
    page.delete_registered_model(f"{name}-2")

    later = opened()
    later.tracking.client  # noqa: B018  # sends it
    assert later.tracking.unsent.reasons == []
    assert later.tracking.unsent.gone == {
        "for a model that was deleted": 3,
        "for a version that was deleted": 3,
    }
    kept = later.tracking.client.get_model_version_by_alias(f"{name}-3", "candidate")
    assert kept.version == held
    assert unsent_files(data_dir, "mlflow") == []


def test_another_refusal_says_what_to_do_and_does_not_hold_up_other_runs(
    way: Between, opened: Open, data_dir: DataDir
) -> None:
    archive = opened()
    dead = cut_off(archive)
    with tracked_run(archive, EVALUATION, CONFIG, Place()) as run:
        pass
    journal = begin_journal(data_dir, "mlflow", way.uri, archive.tracking.server.identity)
    journal.keep({"call": "set tag", "run": run.run_id, "key": "k", "value": "v"})
    words = {"run": run.run_id, "metrics": [], "params": [["samples", "3"]]}
    journal.keep({"call": "log metrics and parameters", **words})
    journal.close()

    for _ in range(2):
        later = opened()
        assert status(later, dead) == "KILLED"
        (reason,) = later.tracking.unsent.reasons
        assert reason.startswith("MLflow refuses to log metrics and parameters (")
        assert "or `threeloops doctor --repair` sets the file aside" in reason
        assert "\n" not in reason
        assert later.tracking.unsent.left == 1
        with pytest.raises(InputError, match="doctor --repair"):
            later.tracking.refuse_unsent("promote")
    assert "refuses to log" in refusal(journal.path)
    assert read_sent(journal.path) == (1, {})
    lines = journal.path.with_suffix(SENT).read_bytes().count(b"\n")
    assert lines == 2, "it is noted once"


def test_a_resumed_run_goes_on_when_the_server_goes_away_and_logs_nothing_twice(
    way: Between, opened: Open
) -> None:
    first = opened()
    with contextlib.suppress(InputError), tracked_run(first, EVALUATION, CONFIG, Place()) as run:
        run.metrics({"reward": 0.5}, step=0)
        with tracked_run(first, EVALUATION, CONFIG, Place(run.run_id, "before")) as child:
            child.metrics({"pass_rate": 0.25, "wall_seconds": 1.0})
            raise InputError("the reason")

    with tracked_run(archive := opened(), EVALUATION, CONFIG, Place(resume=run.run_id)) as again:
        archive.history.every()  # as commands do
        way.decide = lambda path: REFUSE
        again.metrics({"reward": 0.5}, step=0)
        again.metrics({"reward": 0.75}, step=1)
        again.metrics({"new": 1.0}, step=1)
        with tracked_run(archive, EVALUATION, CONFIG, Place(run.run_id, "before")) as inside:
            assert inside.run_id == child.run_id
            inside.metrics({"pass_rate": 0.25, "wall_seconds": 2.0})
    way.decide = lambda path: PASS
    later = opened()
    assert values(later, run.run_id, "reward") == [(0, 0.5), (1, 0.75)]
    assert values(later, run.run_id, "new") == [(1, 1.0)]
    assert values(later, child.run_id, "pass_rate") == [(0, 0.25)]
    assert values(later, child.run_id, "wall_seconds") == [(0, 1.0)]
    assert status(later, run.run_id) == status(later, child.run_id) == "FINISHED"


def test_a_run_is_not_resumed_before_what_it_did_was_sent(
    way: Between, opened: Open, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = kept_by_a_process_that_ended(way, opened, fails=True)
    resumed = Place(resume=run_id)
    with monkeypatch.context() as hurried:
        hurried.setattr(connection, "SEND_SECONDS", 0.0)
        with (
            pytest.raises(InputError, match=r"not been told all.*run `threeloops sync` first"),
            tracked_run(opened(), EVALUATION, CONFIG, resumed),
        ):
            pass
        assert len(unsent_files(data_dir, "mlflow")) == 1

    with tracked_run(later := opened(), EVALUATION, CONFIG, resumed) as run:
        run.metrics({"reward": 3.0}, step=3)
        run.metrics({"reward": 4.0}, step=4)
        assert status(later, run_id) == "RUNNING"
    assert values(later, run_id, "reward") == [(step, float(step)) for step in range(5)]


def test_histories_are_read_for_the_first_record_of_a_file_alone(
    way: Between, opened: Open
) -> None:
    archive, steps = opened(), 30
    with tracked_run(archive, EVALUATION, CONFIG, Place()) as run:
        way.decide = lambda path: LOSE_ANSWER
        for step in range(steps):
            run.metrics({"reward": step / 4, "kl": step / 8}, step=step)
    way.decide = lambda path: PASS
    asked = len(way.paths)
    later = opened()
    later.tracking.client  # noqa: B018  # sends it
    assert later.tracking.unsent.sent["log metrics and parameters"] == steps
    paths = way.paths[asked:]
    assert sum("get-history" in path for path in paths) == 2, "one for each key"
    assert len(paths) < steps + 20
    assert values(later, run.run_id, "kl") == [(step, step / 8) for step in range(steps)]


def test_a_server_of_another_spelling_does_not_open_the_gate_or_end_a_run(
    way: Between, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = kept_by_a_process_that_ended(way, opened)
    spelled = way.uri.replace("http://127.0.0.1", "http://LocalHost") + "/"
    monkeypatch.setenv(SERVER, spelled)
    with monkeypatch.context() as hurried:
        hurried.setattr(connection, "SEND_SECONDS", 0.0)
        later = opened()
        assert status(later, run_id) == "RUNNING", "how it ended is not known yet"
        with pytest.raises(InputError, match="not sent"):
            later.tracking.refuse_unsent("promote")
    later = opened()
    assert status(later, run_id) == "FINISHED"
    assert ERROR not in later.tracking.client.get_run(run_id).data.tags
    later.tracking.refuse_unsent("promote")


def test_a_flow_run_that_goes_on_is_not_cut_off_when_the_server_goes_away(
    way: Between, opened: Open
) -> None:
    archive = opened()
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    ended = cut_off(archive)
    client.set_tag(ended, "threeloops.flow_run", "ended")
    archive = opened()  # closes it
    client = archive.tracking.client
    with tracked_run(archive, EVALUATION, CONFIG, Place()) as run:
        run.tag(flow_run="goes-on")
        archive.history.every()
        assert client.get_run(ended).data.tags[ERROR] == CUT_OFF
        assert flow_runs_cut_off(client, experiment) == ["ended"]
        way.decide = lambda path: REFUSE
        assert flow_runs_cut_off(client, experiment) == []


@pytest.mark.parametrize("dies", ["while it tidies", "afterwards"])
def test_a_command_that_only_reads_is_refused_when_the_server_dies_however_it_began(
    dies: str, way: Between, opened: Open, data_dir: DataDir
) -> None:
    dead = cut_off(opened())
    archive = opened()
    if dies == "while it tidies":
        way.decide = lambda path: REFUSE if "set-tag" in path else PASS
        with pytest.raises(UnreachableError, match="no MLflow server answers there"):
            archive.history.every()
    else:
        assert status(archive, dead) == "KILLED", "that was written"
        way.decide = lambda path: REFUSE
        with pytest.raises(UnreachableError, match="MLflow does not answer"):
            archive.history.every()
    assert not unsent_folder(data_dir).exists()


def test_a_run_that_another_machine_went_on_with_is_left_to_it(
    way: Between, opened: Open, data_dir: DataDir, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = kept_by_a_process_that_ended(way, opened, fails=True)
    page = MlflowClient(way.uri, way.uri)
    page.set_tag(run_id, OWNER, "another-machine:1 5 1.0")  # as `learn --resume` there does

    later = opened()
    assert status(later, run_id) == "RUNNING"
    assert ERROR not in later.tracking.client.get_run(run_id).data.tags
    assert values(later, run_id, "reward") == [(0, 0.0)]
    unsent = later.tracking.unsent
    assert (unsent.left, unsent.sent.total(), unsent.gone.total()) == (0, 0, 6)
    assert "6 records for a run that another process went on with" in caplog.text
    assert unsent_files(data_dir, "mlflow") == []


def test_what_a_process_kept_after_it_went_on_with_a_run_is_sent(
    way: Between, opened: Open
) -> None:
    run_id = cut_off(opened())
    with tracked_run(archive := opened(), EVALUATION, CONFIG, Place(resume=run_id)) as run:
        way.decide = lambda path: REFUSE
        # it tells whose the run is, and nobody hears it
        archive.tracking.client.set_tag(run_id, OWNER, "who-goes-on:1 5 1.0")
        run.metrics({"reward": 0.5})
        archive.tracking.client.set_tag(run_id, OWNER, this_process())
    way.decide = lambda path: PASS
    later = opened()
    assert status(later, run_id) == "FINISHED"
    assert values(later, run_id, "reward") == [(0, 0.5)]
    assert later.tracking.unsent.gone == {}


def test_a_copy_that_a_process_makes_while_another_tidies_up_is_not_deleted(
    data_dir: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    server = Server("http://127.0.0.1:9")
    begin_journal(data_dir, "mlflow", server.address).close()  # nothing was kept in it
    copied: list[str] = []

    def lose_the_server() -> None:
        journal = begin_journal(data_dir, "mlflow", server.address)
        copied.append(Way(server, data_dir)._copied(tmp_path / "weights"))
        journal.keep({"call": "keep file", "file": copied[0]})
        journal.close()

    another, remove = threading.Thread(target=lose_the_server), shutil.rmtree

    def remove_meanwhile(path: Path, ignore_errors: bool) -> None:
        another.start()
        another.join(1)
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr("artifacts.unsent.send.shutil.rmtree", remove_meanwhile)
    send_to_mlflow(None, data_dir, server, 5.0)
    another.join(30)
    assert (data_dir.root / copied[0]).read_bytes() == b"weights"
