"""The class that stands in for Prefect's: the server is started once, waited for and ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from flows.orchestration.stand_in import WHERE, SubprocessASGIServer, server_of_this_process

HEALTHY = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
    def log_message(self, *_): pass
server = HTTPServer(("127.0.0.1", 0), Answers)
print(server.server_port, flush=True)
server.serve_forever()
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[SubprocessASGIServer]:
    """The one of a process that has asked for none yet."""
    monkeypatch.setattr(SubprocessASGIServer, "_one", None)
    one = SubprocessASGIServer()
    yield one
    one.stop()


def test_it_is_one_for_everybody(server: SubprocessASGIServer) -> None:
    assert SubprocessASGIServer() is server
    assert not server.running


def test_it_is_started_once_waited_for_and_ended(server: SubprocessASGIServer) -> None:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HEALTHY], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        server.port = int(process.stdout.readline())
        started.append(process)
        return process

    server._run_uvicorn_command = start
    server.start()
    server.start()
    assert server.running
    assert server.server_process is started[0]
    assert server.api_url == f"http://127.0.0.1:{server.port}/api"
    server.stop()
    assert started[0].returncode is not None
    assert len(started) == 1
    assert not server.running
    assert started[0].stdout is not None
    started[0].stdout.close()


def test_one_that_ends_at_once_is_an_error_and_can_be_started_again(
    server: SubprocessASGIServer,
) -> None:
    def start() -> subprocess.Popen[bytes]:
        server.port = 9  # where nobody listens
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])

    server._run_uvicorn_command = start
    with pytest.raises(RuntimeError, match="exited with code 7"):
        server.start()
    assert not server.running


def test_one_that_never_answers_is_not_waited_for_for_ever(server: SubprocessASGIServer) -> None:
    def start() -> subprocess.Popen[bytes]:
        server.port = 9
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])

    server._run_uvicorn_command = start
    with pytest.raises(RuntimeError, match="Timed out"):
        server.start(timeout=1)


def test_the_real_class_is_used_where_it_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    class Real:
        """Prefect's."""

    module = type(sys)(WHERE)
    module.SubprocessASGIServer = Real  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, WHERE, module)
    assert isinstance(server_of_this_process(), Real)


def test_a_client_that_asks_for_a_server_imports_none(tmp_path: object) -> None:
    code = (
        "import sys\n"
        "from flows.orchestration.stand_in import server_of_this_process\n"
        "server = server_of_this_process()\n"
        "server.start = lambda timeout=None: None\n"
        "server.server_process, server.port = object(), 4711\n"
        "from prefect.client.orchestration import get_client\n"
        "print(get_client(sync_client=True).api_url)\n"
        "heavy = 'prefect.server.database', 'prefect.server.api.flows', 'docket', 'fastapi'\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PREFECT_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "DO_NOT_TRACK": "1"},
    )
    assert done.stdout.split() == ["http://127.0.0.1:4711/api/", "[]"]
