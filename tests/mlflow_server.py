"""A real MLflow server on loopback for tests, and somebody between it and its clients."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

START_SECONDS = 300.0  # on a machine that does much else
PASS, LOSE_ANSWER, REFUSE, HOLD = "pass", "lose the answer", "refuse", "hold"
BUSY, FORBIDDEN, BROKEN = "503", "403", "500"  # what it answers itself


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class MlflowServer:
    """`mlflow server` on a database of its own; it can be killed and started again."""

    def __init__(self, folder: Path, empty_database: Path) -> None:
        self.port = free_port()
        self.folder = folder
        self.database = folder / "server.db"
        shutil.copy(empty_database, self.database)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["-m", "mlflow", "server", "--workers", "1", "--port", str(self.port)]
        words += ["--backend-store-uri", f"sqlite:///{self.database}"]
        words += ["--artifacts-destination", str(self.folder / "served")]
        settings = {
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words],
                stdout=log,
                stderr=log,
                env=os.environ | settings,
                start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.1)

    def kill(self) -> None:
        """End it at once, with every process that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """What its database holds."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def move_experiments_aside(self) -> None:
        """The next test makes an experiment of its own."""
        with (
            contextlib.closing(sqlite3.connect(self.database, timeout=60)) as connection,
            connection,
        ):
            connection.execute(
                "update experiments set name = 'former-' || experiment_id where name = 'threeloops'"
            )

    def _answers(self) -> bool:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            link.request("GET", "/health")
            return link.getresponse().status == 200
        except OSError:
            return False
        finally:
            link.close()


class Between:
    """Passes requests on to a server; `decide` says what becomes of the next one, by its path."""

    def __init__(self, port: int) -> None:
        self.decide: Callable[[str], str] = lambda path: PASS
        self.after_lost: Callable[[], None] = lambda: None
        self.paths: list[str] = []
        self.released = threading.Event()
        between = self

        class Handler(BaseHTTPRequestHandler):
            def _handle(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                between.paths.append(self.path)
                act = between.decide(self.path)
                self.close_connection = True
                if act == HOLD:
                    between.released.wait(60)
                if act in (HOLD, REFUSE):
                    return
                if act.isdigit():
                    self.send_error(int(act))
                    return
                link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                with (
                    contextlib.suppress(OSError, http.client.HTTPException),
                    contextlib.closing(link),
                ):
                    link.request(self.command, self.path, body, dict(self.headers))
                    answer = link.getresponse()
                    content = answer.read()
                    if act == LOSE_ANSWER:
                        between.after_lost()
                        return
                    self.send_response(answer.status)
                    self.send_header("Content-Type", answer.getheader("Content-Type", "text/plain"))
                    self.send_header("Content-Length", str(len(content)))
                    self.send_header("Connection", "close")
                    self.end_headers()
                    self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle  # noqa: N815

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Nobody listens any more."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def between(port: int) -> Iterator[Between]:
    """Somebody between a server's port and its clients, for a block."""
    made = Between(port)
    try:
        yield made
    finally:
        made.close()
