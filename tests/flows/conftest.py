"""Small configurations, one Prefect test server, and the real servers, for all flow tests."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.config import EvalConfig, LearningConfig, LearningSettings, SamplingSettings
from tasks.runtime.runtime import process_runtime
from tests.running_up import TELLS_WHERE, end

TEMPLATE = "few_shot_chat@1"
BIN = Path(sys.executable).parent
PATIENCE = 240.0
STARTING_SERVERS = {"prefect_server", "environment"}  # the fixtures that do


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that `make test-fast` leaves it out."""
    for item in items:
        if STARTING_SERVERS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One temporary Prefect server for the session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(autouse=True)
def _ready_database(tmp_path: Path, empty_database: Path) -> None:
    """Start each test's data folder with an empty MLflow database, whose making takes seconds."""
    folder = tmp_path / "home"
    folder.mkdir(exist_ok=True)
    shutil.copy(empty_database, folder)


@pytest.fixture(autouse=True)
def _models_forgotten() -> Iterator[None]:
    yield
    models = vars(process_runtime()).get("models")  # made at its first use, which imports torch
    if models is not None:
        models.forget()


@pytest.fixture
def usual_mask() -> Iterator[None]:
    """Files that others may read, as most systems make them."""
    former = os.umask(0o022)
    yield
    assert os.umask(former) == 0o022, "it was not put back"


@pytest.fixture
def eval_config(tiny: str) -> EvalConfig:
    """Loop A on six problems with two samples."""
    return EvalConfig(
        model=tiny, limit=6, samples=2, shard_size=4, sampling=SamplingSettings(max_new_tokens=6)
    )


@pytest.fixture(scope="session")
def small_sums(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset whose answers are one digit, so that a tiny model is right now and then."""
    sums = [(a, b) for a in range(1, 9) for b in range(1, 10 - a)]
    splits = ["train"] * 24 + ["dev"] * 6 + ["holdout"] * 6
    rows: list[dict[str, object]] = [
        {"id": f"{a}+{b}", "prompt": f"{a} + {b}?", "expected_answer": a + b, "split": split}
        for (a, b), split in zip(sums, splits, strict=True)
    ]
    return problems_file(tmp_path_factory.mktemp("sums"), *rows)


@pytest.fixture(scope="session")
def learning_config(tiny: str, small_sums: str) -> LearningConfig:
    """Loop C in four small steps, of which most find something to learn."""
    return LearningConfig(
        model=tiny,
        dataset=small_sums,
        limit=4,
        steps=4,
        problems_per_step=4,
        samples=8,
        evaluation_samples=2,
        checkpoint_every=2,
        dev_every=2,
        sampling=SamplingSettings(max_new_tokens=6),
        learning=LearningSettings(learning_rate=1e-3, kl_weight=0.1),
    )


def problems_file(folder: Path, *rows: dict[str, object]) -> str:
    """A JSONL dataset."""
    path = folder / "problems.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., Any]:
    """Ask again every half second until the answer is true, and return it."""

    def wait(found: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if result := found():
                return result
            time.sleep(0.5)
        raise AssertionError(f"waited {patience:.0f} s for {what}")

    return wait


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands on the running servers are given: a data folder of the module's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    root = tmp_path_factory.mktemp("up") / "home"
    return kept | {"THREELOOPS_HOME": str(root), "PATH": f"{BIN}:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def running(environment: dict[str, str], wait_for: Callable[..., Any]) -> Iterator[dict[str, str]]:
    """A running `threeloops up` for all tests of a module; the addresses of its servers."""
    root = Path(environment["THREELOOPS_HOME"])
    root.mkdir()
    ports = {"--prefect-port": str(free_port()), "--mlflow-port": str(free_port())}
    words = [word for pair in ports.items() for word in pair]
    log = (root / "up.log").open("wb")
    behind_an_ampersand = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    process = subprocess.Popen(
        [*behind_an_ampersand, sys.executable, "-m", "flows.cli", "up", *words],
        env=environment | TELLS_WHERE,
        stdout=log,
        stderr=log,
    )
    record = root / "up.json"

    def ready() -> bool:
        assert process.poll() is None, (root / "up.log").read_text()
        return record.exists()

    try:
        wait_for(ready, "the servers")
        yield json.loads(record.read_text())
    finally:
        log.close()
        end(process, root / "up.log", 60)
    assert process.returncode == 0
    assert not record.exists(), "nobody is sent to servers that have gone"


@pytest.fixture
def served(
    running: dict[str, str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """The addresses of the running servers, with their data folder as this test's."""
    monkeypatch.setenv("THREELOOPS_HOME", environment["THREELOOPS_HOME"])
    return running
