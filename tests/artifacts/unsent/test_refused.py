"""What a server refuses for itself is said and stays; it is no server that is away."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.files import ServedFiles
from artifacts.tracking.run import Place, tracked_run
from artifacts.unsent.journal import unsent_files
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.loops import EVALUATION
from tests.mlflow_server import BROKEN, FORBIDDEN, PASS, REFUSE, Between

CONFIG = EvalConfig(samples=2)
Open = Callable[[], Archive]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (FORBIDDEN, "MLflow refuses to keep file (the server does not allow it (403)); "),
        (BROKEN, "MLflow fails to keep file a.json ("),
    ],
)
def test_a_file_that_the_server_does_not_take_is_said_and_stays_and_others_are_sent(
    answer: str, words: str, way: Between, opened: Open, data_dir: DataDir
) -> None:
    client = opened().tracking.client
    experiment = client.create_experiment(f"files that get {answer}")
    run = client.create_run(experiment).info.run_id
    way.decide = lambda path: REFUSE
    client.log_dict(run, {"a": 1}, "a.json")
    way.decide = lambda path: answer if "mlflow-artifacts" in path else PASS
    (path,) = unsent_files(data_dir, "mlflow")
    for _ in range(2):
        later = opened()
        later.tracking.client.set_tag(run, "k", "v")
        assert not later.tracking.away
        (reason,) = later.tracking.unsent.reasons
        assert reason.startswith(words)
        assert "\n" not in reason
        assert f"it is kept in {path}: put that right and run `threeloops sync`, or" in reason
        assert unsent_files(data_dir, "mlflow") == [path]
    way.decide = lambda path: PASS
    later = opened()
    assert later.tracking.client.list_artifacts(run)[0].path == "a.json"
    assert unsent_files(data_dir, "mlflow") == []


def test_whose_run_it_is_may_be_refused_too(way: Between, opened: Open, data_dir: DataDir) -> None:
    archive = opened()
    with tracked_run(archive, EVALUATION, CONFIG, Place()) as run:
        way.decide = lambda path: REFUSE
        run.metrics({"reward": 0.5})
    way.decide = lambda path: FORBIDDEN if "runs/get?" in path else PASS
    later = opened()
    later.tracking.client  # noqa: B018  # sends it
    (reason,) = later.tracking.unsent.reasons
    assert "the server does not allow it (403)" in reason
    assert len(unsent_files(data_dir, "mlflow")) == 1


def test_a_file_that_the_server_refuses_is_no_server_that_is_away(
    way: Between, opened: Open, data_dir: DataDir
) -> None:
    tracking = opened().tracking
    run = tracking.client.create_run(tracking.client.create_experiment("refused files"))
    files = ServedFiles(tracking, str(run.info.run_id))
    way.decide = lambda path: "413" if "mlflow-artifacts" in path else PASS
    with pytest.raises(InputError, match="MLflow does not keep it: it answers 413"):
        files.write("a.json", b"{}")
    assert not tracking.away
    assert unsent_files(data_dir, "mlflow") == []
