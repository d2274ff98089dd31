"""A real S3 for every test here, and the marker that keeps these tests apart."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.server import PrefectServer
from tests.mlflow_server import free_port
from tests.postgres import postgres, program
from tests.seaweed import BUCKET, OWNER, SeaweedServer, seaweed, weed_program

HERE = Path(__file__).parent
START_SECONDS = 300.0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.engines)


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """SeaweedFS on loopback, for all tests."""
    pytest.importorskip("obstore", reason="install threeloops[store]")
    try:
        weed_program()
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    with seaweed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def as_user(
    weed: SeaweedServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[tuple[str, str]], None]:
    """Let this process be a user of the server."""

    def be(user: tuple[str, str]) -> None:
        for name, value in weed.settings(user).items():
            monkeypatch.setenv(name, value)

    return be


@pytest.fixture
def bucket(as_user: Callable[[tuple[str, str]], None], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a prefix of its own, as the one who owns it; the store of this process."""
    as_user(OWNER)
    address = f"s3://{BUCKET}/{uuid4().hex[:12]}"
    monkeypatch.setenv("THREELOOPS_STORE", address)
    return address


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    pytest.importorskip("psycopg2", reason="install threeloops[mlflow-server]")
    try:
        program("initdb")
    except FileNotFoundError as missing:
        pytest.skip(str(missing))
    with postgres() as address:
        yield address.replace("postgresql:", "postgresql+psycopg2:")


@pytest.fixture(scope="session")
def mlflow_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `mlflow_server` runs, and writes its log."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def mlflow_server(weed: SeaweedServer, database: str, mlflow_folder: Path) -> Iterator[str]:
    """`mlflow server` on Postgres, with its files in S3; its address."""
    pytest.importorskip("boto3", reason="install threeloops[mlflow-server]")
    folder, port = mlflow_folder, free_port()
    words = ["-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    words += ["--backend-store-uri", database, "--artifacts-destination", f"s3://{BUCKET}/runs"]
    settings = weed.settings(OWNER) | {
        "MLFLOW_S3_ENDPOINT_URL": weed.endpoint,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words], stdout=log, stderr=log, cwd=folder, env=os.environ | settings
        )
    try:
        until = time.monotonic() + START_SECONDS
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """Prefect's server, for commands that know its address."""
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    server.start()
    yield server
    server.close()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
