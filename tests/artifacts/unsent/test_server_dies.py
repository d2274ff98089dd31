"""An MLflow server dies: the run goes on, and what it was not told is sent once."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
from collections.abc import Callable
from typing import Any

import pytest

from artifacts.registry.versions import registered_version
from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import PARENT, TAG
from artifacts.tracking.run import Place, TrackedRun, tracked_run
from artifacts.unsent.answers import UnreachableError
from artifacts.unsent.journal import unsent_folder
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.loops import EVALUATION
from tests.mlflow_server import HOLD, LOSE_ANSWER, PASS, REFUSE, Between, MlflowServer

CONFIG = EvalConfig(samples=2)
Open = Callable[[], Archive]
READS = ("search", "get", "get-by-name", "get-history")


def reads(path: str) -> bool:
    """Whether a request of this path changes nothing."""
    return path.partition("?")[0].endswith(READS)


def writes(way: Between) -> list[str]:
    """The paths of requests so far that changed something."""
    return [path for path in way.paths if not reads(path)]


def work(archive: Archive, place: Place = Place(), inner: bool = True) -> TrackedRun:  # noqa: B008
    """A run that makes every kind of call that runs make, with one inside it."""
    with tracked_run(archive, EVALUATION, CONFIG, place) as run:
        run.tag(model="tiny", model_digest="0" * 64)
        for step in range(3):
            run.metrics({"reward": 0.5, "kl": step / 8}, step=step)
        if inner:
            child = work(archive, Place(parent=run.run_id, stage="before"), inner=False)
            run.tag(**{"measured.before": child.run_id})
        run.record("result.json", CONFIG)
        (run.artifact_folder("notes")).mkdir(parents=True, exist_ok=True)
        (run.artifact_folder("notes") / "ids.json").write_text(json.dumps({"run": run.run_id}))
        (run.artifact_folder("notes") / "weights.bin").write_bytes(run.run_id.encode())
        run.link("an end")
    return run


def told(archive: Archive) -> list[dict[str, Any]]:
    """What MLflow has, without ids and times: runs in order of what they are."""
    client, found = archive.tracking.client, []
    for run in archive.history.mlflow_runs():
        ours = {"identity", "owner", "measured.before"}
        names = {f"{TAG}{name}" for name in ours} | {PARENT, "mlflow.runName"}
        tags = {name: value for name, value in run.data.tags.items() if name not in names}
        history = {
            key: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)]
            for key in sorted(run.data.metrics)
        }
        found.append(
            {
                "status": run.info.status,
                "tags": tags,
                "params": run.data.params,
                "metrics": history,
                "nested": PARENT in run.data.tags,
            }
        )
    return sorted(found, key=lambda one: bool(one["nested"]))


def files(data_dir: DataDir) -> list[str]:
    return sorted(path.name for path in unsent_folder(data_dir).glob("*"))


def test_a_run_whose_server_went_away_ends_well_and_is_sent_once(
    way: Between, opened: Open, data_dir: DataDir, caplog: pytest.LogCaptureFixture
) -> None:
    work(first := opened())
    (whole, inner) = told(first)
    assert whole["metrics"]["kl"] == [(0, 0.0), (1, 0.125), (2, 0.25)]

    archive = opened()
    archive.tracking.client  # noqa: B018  # it is there at the start
    began = len(writes(way))
    way.decide = lambda path: REFUSE if len(writes(way)) > began + 6 else PASS
    with caplog.at_level(logging.WARNING):
        run = work(archive)
    (line,) = [record.getMessage() for record in caplog.records]
    (kept,) = files(data_dir)
    assert "the work goes on" in line
    assert f"{kept}, and the next command or `threeloops sync` sends it" in line
    assert stat.S_IMODE((unsent_folder(data_dir) / kept).stat().st_mode) == 0o600
    assert stat.S_IMODE(unsent_folder(data_dir).stat().st_mode) == 0o700

    way.decide = lambda path: PASS
    later = opened()
    assert told(later) == [whole, whole, inner, inner]
    assert later.tracking.unsent.sent.total() > 10
    assert files(data_dir) == []
    assert later.history.find(run.run_id).status == "FINISHED"
    assert not opened().tracking.unsent.sent, "nothing is sent twice"


def test_what_was_begun_without_the_server_gets_its_ids_everywhere(
    way: Between, opened: Open, data_dir: DataDir
) -> None:
    archive = opened()
    archive.tracking.client  # noqa: B018
    way.decide = lambda path: REFUSE
    run = work(archive)
    ours, inside = run.run_id, archive.history.mlflow_runs()[0].info.run_id
    assert not archive.history.find(run.name).parent
    way.decide = lambda path: PASS

    later = opened()
    found = later.history.find(ours)
    assert found.run_id != ours
    assert later.history.find(run.name).run_id == found.run_id
    assert found.config(EvalConfig) == CONFIG
    assert not (data_dir.run_artifacts / ours).exists()
    assert json.loads((found.folder / "notes" / "ids.json").read_text()) == {"run": found.run_id}
    assert (found.folder / "notes" / "weights.bin").read_bytes() == ours.encode(), "no text"
    child = later.history.find(found.tags["measured.before"])
    assert (child.parent, child.stage) == (found.run_id, "before")
    assert inside != child.run_id


def test_an_answer_that_is_lost_doubles_nothing_while_the_server_lives(
    way: Between, opened: Open, data_dir: DataDir
) -> None:
    work(first := opened())
    whole = told(first)
    archive = opened()
    archive.tracking.client  # noqa: B018
    lost: set[str] = set()

    def lose_each_once(path: str) -> str:
        if reads(path):
            return PASS
        again = path in lost  # it comes once more, since its answer was lost
        (lost.discard if again else lost.add)(path)
        return PASS if again else LOSE_ANSWER

    way.decide = lose_each_once
    work(archive)
    way.decide = lambda path: PASS
    assert files(data_dir) == []
    assert told(opened()) == [whole[0], whole[0], whole[1], whole[1]]


def test_wherever_the_server_dies_after_it_stored_nothing_is_lost_or_doubled(
    way: Between, opened: Open, data_dir: DataDir
) -> None:
    work(first := opened())
    whole, inner = told(first)
    count = len(writes(way)) - 1  # without making the experiment
    for number, dies_at in enumerate(range(1, count + 1, 5), start=2):
        archive = opened()
        archive.tracking.client  # noqa: B018
        began = len(writes(way))

        def dies(path: str, last: int = began + dies_at) -> str:
            now = len(writes(way))
            return PASS if now < last else LOSE_ANSWER if now == last else REFUSE

        way.decide = dies
        work(archive)
        way.decide = lambda path: PASS
        assert told(opened()) == [whole] * number + [inner] * number, f"died at write {dies_at}"
        assert files(data_dir) == []


def test_a_sender_that_is_killed_at_any_request_is_followed_by_one_that_ends_it(
    way: Between, opened: Open, data_dir: DataDir
) -> None:
    work(first := opened())
    whole, inner = told(first)
    way.decide = lambda path: PASS if reads(path) else REFUSE
    _, status = os.waitpid(started(lambda: work(opened())), 0)
    assert status == 0
    assert len(files(data_dir)) == 1
    kills, limit = 0, 60
    while files(data_dir) and kills < limit:
        stop = len(writes(way)) + 2 + kills % 3
        senders: list[int] = []

        def kill_at(path: str, stop: int = stop, senders: list[int] = senders) -> str:
            if len(writes(way)) < stop or reads(path):
                return PASS
            os.kill(senders[0], signal.SIGKILL)
            return LOSE_ANSWER

        way.decide = kill_at
        senders.append(started(lambda: opened().tracking.client))
        _, status = os.waitpid(senders[0], 0)
        killed = os.WIFSIGNALED(status)
        assert killed or not files(data_dir), "one that is not killed sends everything"
        kills += killed
    assert 5 < kills < limit
    way.decide = lambda path: PASS
    assert told(opened()) == [whole, whole, inner, inner]


def started(act: Callable[[], object]) -> int:
    """A process of its own that does something and ends; its id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        finally:
            os._exit(code)
    return child


def test_the_gate_does_not_decide_while_something_is_unsent(
    way: Between, opened: Open, data_dir: DataDir
) -> None:
    archive = opened()
    archive.tracking.client  # noqa: B018
    archive.tracking.refuse_unsent("promote")
    way.decide = lambda path: REFUSE
    work(archive)
    with pytest.raises(InputError, match=r"not sent.*threeloops sync"):
        archive.tracking.refuse_unsent("promote")
    with pytest.raises(UnreachableError):
        registered_version(archive, "models:/some@champion")
    way.decide = lambda path: PASS
    opened().tracking.refuse_unsent("promote")


def test_a_list_of_runs_is_whole_or_refused(way: Between, opened: Open, data_dir: DataDir) -> None:
    work(opened())
    archive = opened()
    assert len(archive.history.every()) == 2
    way.decide = lambda path: REFUSE
    with pytest.raises(UnreachableError, match="MLflow does not answer"):
        archive.history.every()
    assert not archive.tracking.away
    assert files(data_dir) == []


def test_files_that_the_server_keeps_are_copied_until_they_are_sent(
    way: Between, opened: Open, data_dir: DataDir, server: MlflowServer
) -> None:
    client = opened().tracking.client
    experiment = client.create_experiment(f"served {len(server.rows('select 1 from runs'))}")
    run = client.create_run(experiment).info
    assert run.artifact_uri.startswith("mlflow-artifacts:")
    way.decide = lambda path: REFUSE
    client.log_dict(run.run_id, {"a": 1}, "some/a.json")
    client.log_dict(run.run_id, {"a": 1}, "some/b.json")
    (copy,) = (unsent_folder(data_dir) / "files").iterdir()
    assert json.loads(copy.read_text()) == {"a": 1}
    way.decide = lambda path: PASS
    later = opened().tracking
    listed = later.client.list_artifacts(run.run_id, "some")
    assert later.unsent.reasons == []
    assert later.unsent.sent == {"keep file": 2}
    assert [one.path for one in listed] == ["some/a.json", "some/b.json"]
    assert files(data_dir) == []


@pytest.mark.parametrize("how", [REFUSE, HOLD])
def test_a_server_that_is_dead_at_the_start_is_one_line(
    how: str, way: Between, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    from artifacts.tracking import connection

    monkeypatch.setitem(connection.ASKING, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    way.decide = lambda path: how
    with pytest.raises(InputError, match="no MLflow server answers there") as refused:
        opened().tracking.client  # noqa: B018
    assert "\n" not in str(refused.value)
    assert len(way.paths) == 1, "it is asked once"


def test_a_real_server_that_is_killed_and_started_again(
    way: Between, opened: Open, data_dir: DataDir, server: MlflowServer
) -> None:
    work(first := opened())
    whole, inner = told(first)
    archive = opened()
    archive.tracking.client  # noqa: B018
    began = len(writes(way))
    dies = began + 9
    way.decide = lambda path: PASS if reads(path) or len(writes(way)) != dies else LOSE_ANSWER
    way.after_lost = server.kill
    work(archive)
    way.decide = lambda path: PASS
    with pytest.raises(InputError, match="no MLflow server answers there"):
        opened().tracking.client  # noqa: B018
    assert len(files(data_dir)) == 1
    server.start()
    assert told(opened()) == [whole, whole, inner, inner]
    doubled = "select 1 from metrics group by run_uuid, key, step, timestamp having count(*) > 1"
    assert server.rows(doubled) == []
