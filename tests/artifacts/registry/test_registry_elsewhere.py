"""A registry on a server of its own: seen to before any work, and waited for as the runs are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest
from mlflow.exceptions import MlflowException

from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import ASKING
from artifacts.tracking.named import REGISTRY_AT
from artifacts.tracking.run import Place, tracked_run
from artifacts.unsent import answers
from artifacts.unsent.journal import unsent_files
from flows.cli.parser import main
from schemas.config import EvalConfig
from schemas.loops import EVALUATION
from tests.mlflow_server import PASS, REFUSE, Between, MlflowServer, between


@pytest.fixture
def registry(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Between]:
    """Who stands between the registry and its clients; the runs are in the data folder."""
    monkeypatch.setattr(answers, "PAUSES", (0.01, 0.02))
    for name, value in ASKING.items():
        monkeypatch.setenv(name, value)  # as before afterwards
    with between(server.port) as made:
        monkeypatch.setenv(REGISTRY_AT, made.uri)
        yield made


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("401", "MLflow's registry cannot be used: the server wants a login that it knows (401); "),
        ("403", "MLflow's registry cannot be used: the server does not allow it (403); "),
        (REFUSE, "no MLflow server answers there ("),
    ],
)
def test_one_that_refuses_or_is_silent_is_one_line_before_a_model_is_loaded(
    answer: str,
    words: str,
    registry: Between,
    archive: Archive,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def too_late(*_: object) -> NoReturn:
        raise AssertionError("it went on")

    monkeypatch.setattr("flows.preflight.check_names", too_late)
    registry.decide = lambda path: answer
    assert main(["eval", "--limit", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"threeloops: {REGISTRY_AT}={registry.uri}: {words}")
    assert len(registry.paths) == 1, "it is asked once"


def test_one_that_is_away_for_a_moment_is_asked_again(registry: Between, archive: Archive) -> None:
    client, began = archive.tracking.client, len(registry.paths)
    coming = [REFUSE, "503"]
    registry.decide = lambda path: coming.pop(0) if coming else PASS
    with pytest.raises(MlflowException) as answered:
        client.get_model_version_by_alias("none", "champion")
    assert "none" in str(answered.value)
    assert answered.value.error_code == "RESOURCE_DOES_NOT_EXIST"
    assert len(registry.paths) - began == 3


def test_what_one_that_stays_away_was_not_told_is_kept_and_sent(
    registry: Between,
    archive: Archive,
    data_dir: DataDir,
    ended: Callable[[Archive], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with tracked_run(archive, EVALUATION, EvalConfig(samples=2), Place()) as run:
        registry.decide = lambda path: REFUSE
        archive.tracking.client.create_registered_model(f"kept-{run.run_id}")
        run.metrics({"reward": 0.5})
    assert f" at {registry.uri}; the work goes on" in caplog.text
    (path,) = unsent_files(data_dir, "mlflow")
    ended(archive)
    registry.decide = lambda path: PASS
    later = Archive(data_dir)
    assert later.tracking.client.get_registered_model(f"kept-{run.run_id}")
    assert later.tracking.unsent.reasons == []
    assert not path.exists()
    (found,) = later.history.every()
    assert (found.status, found.metrics["reward"]) == ("FINISHED", 0.5)
