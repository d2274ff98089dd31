"""The store of one test, a real MLflow server, and an archive that uses it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.store.tables import Store
from artifacts.tracking import connection
from artifacts.tracking.archive import Archive
from artifacts.tracking.named import SERVER
from artifacts.unsent import answers
from tests.mlflow_server import Between, MlflowServer, between


@pytest.fixture
def store(data_dir: DataDir) -> Store:
    """The tables of the test's data folder."""
    return Store(data_dir)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server, so that `make test-fast` leaves it out."""
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)


@pytest.fixture(scope="session")
def mlflow_server(
    tmp_path_factory: pytest.TempPathFactory, empty_database: Path
) -> Iterator[MlflowServer]:
    """One server for the session."""
    server = MlflowServer(tmp_path_factory.mktemp("server"), empty_database)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def server(mlflow_server: MlflowServer) -> MlflowServer:
    """The server, on which nobody has an experiment of our name."""
    mlflow_server.move_experiments_aside()
    return mlflow_server


@pytest.fixture
def way(
    server: MlflowServer, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Between]:
    """Who stands between the server and its clients, which give up within moments."""
    monkeypatch.setattr(answers, "PAUSES", (0.01, 0.02))
    monkeypatch.setattr(connection, "SEND_SECONDS", 300.0)
    for name, value in connection.ASKING.items():
        monkeypatch.setenv(name, value)  # a test's own client asks so too; as before afterwards
    with between(server.port) as made:
        monkeypatch.setenv(SERVER, made.uri)
        yield made


@pytest.fixture
def opened(
    way: Between, data_dir: DataDir, ended: Callable[[Archive], None]
) -> Callable[[], Archive]:
    """Open the data folder as another command would, after those before it have ended."""
    earlier: list[Archive] = []

    def open_anew() -> Archive:
        for one in earlier:
            ended(one)
        earlier.append(Archive(data_dir))
        return earlier[-1]

    return open_anew


@pytest.fixture
def ended() -> Callable[[Archive], None]:
    """Let go of what an archive keeps, as the end of its process does."""

    def end(archive: Archive) -> None:
        way = getattr(vars(archive.tracking).get("client"), "_way", None)
        if way is not None and way._journal is not None:
            way._journal.close()
            way._journal = None

    return end
