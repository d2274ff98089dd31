"""The class that Prefect's client asks for its own server, without importing the whole server.

The client imports `prefect.server.api.server`, which takes seconds, only to get this class: it
starts a process, waits until it answers and says where. The server itself runs elsewhere. Where a
program has imported the real module, that one is used.
"""

from __future__ import annotations

import atexit
import subprocess
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import httpx

WHERE = "prefect.server.api.server"
LOOK_SECONDS = 0.05
STOP_SECONDS = 5.0


class SubprocessASGIServer:
    """The one server of this process, with what Prefect's client uses of its class."""

    _one: SubprocessASGIServer | None = None

    running: bool
    port: int | None
    server_process: subprocess.Popen[Any] | None
    _run_uvicorn_command: Callable[[], subprocess.Popen[Any]]  # set by whoever knows how

    def __new__(cls) -> SubprocessASGIServer:
        """The same for everybody."""
        if cls._one is None:
            cls._one = super().__new__(cls)
            cls._one.running, cls._one.port, cls._one.server_process = False, None, None
        return cls._one

    @property
    def api_url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}/api"

    def start(self, timeout: int | None = None) -> None:
        """Start it once, and wait until it answers; RuntimeError where it does not."""
        if self.running:
            return
        self.running = True
        try:
            self._start(timeout)
        except BaseException:
            self.running = False
            raise

    def _start(self, timeout: int | None) -> None:
        from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS as PATIENCE

        self.server_process = process = self._run_uvicorn_command()
        atexit.register(self.stop)
        until = time.monotonic() + (timeout or PATIENCE.value())
        with httpx.Client() as client:
            while not self._answers(client):
                if (code := process.poll()) is not None:
                    raise RuntimeError(f"Ephemeral server process exited with code {code}.")
                if time.monotonic() > until:
                    raise RuntimeError(
                        "Timed out while attempting to connect to ephemeral Prefect API server."
                    )
                time.sleep(LOOK_SECONDS)

    def _answers(self, client: httpx.Client) -> bool:
        try:
            answer = client.get(f"{self.api_url}/health")
        except httpx.ConnectError:
            return False
        answer.raise_for_status()
        return True

    def stop(self) -> None:
        """End it, if it runs."""
        ending, self.server_process, self.running = self.server_process, None, False
        if ending is None:
            return
        ending.terminate()
        try:
            ending.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            ending.kill()
            ending.wait()


def server_of_this_process() -> Any:
    """What Prefect's client will ask for a server: the real class if it is there, else ours."""
    if WHERE not in sys.modules:
        module: Any = ModuleType(WHERE)
        module.SubprocessASGIServer = SubprocessASGIServer
        sys.modules[WHERE] = module
    return sys.modules[WHERE].SubprocessASGIServer()
