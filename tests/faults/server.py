"""A real Prefect server for the trials, which can be frozen, killed and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.faults.commands import SETTINGS

PATIENCE = 1800.0  # a busy machine takes minutes


class PrefectServer:
    """One server on loopback, with a database of its own that outlives a restart."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self._port}/api"
        self.environment = {"PREFECT_API_URL": self.url, "PREFECT_HOME": str(home)}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "COVERAGE_"))}
        words = ["-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
        with (self.home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words, "--port", str(self._port), "--log-level", "critical"],
                env={**kept, **SETTINGS, "PREFECT_HOME": str(self.home)},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the Prefect server of the harness did not start")

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(60)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
