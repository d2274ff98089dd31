"""Processes that have to keep running: started in groups of their own, restarted, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from schemas.errors import InputError, ThreeLoopsError

HOST = "127.0.0.1"
START_SECONDS = 180.0
STOP_SECONDS = 15.0
MAX_DEATHS, WITHIN_SECONDS = 3, 120.0


class ServerStoppedError(ThreeLoopsError):
    """One of the servers ended by itself, again and again; its log says why."""


@dataclass
class Server:
    """One command that is kept running.

    `health` is the address that answers once it serves, None for one that serves nobody. What it
    prints goes into `log`, which starts empty with every `start`.
    """

    name: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    health: str | None = None
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=deque)

    def start(self) -> None:
        """Start it in a process group of its own."""
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.words,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ended(self) -> int | None:
        """Its exit code once it has ended, else None."""
        return self.process.poll() if self.process else None

    def wait_until_it_answers(self) -> None:
        """Return when `health` answers; ServerStoppedError when it ends first or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while self.health and time.monotonic() < deadline:
            if (code := self.ended()) is not None:
                raise ServerStoppedError(f"{self.name} ended with code {code}; see {self.log}")
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(self.health, timeout=2).raise_for_status()
                return
            time.sleep(0.3)
        if self.health:
            raise ServerStoppedError(
                f"{self.health} did not answer in {START_SECONDS:.0f} s; see {self.log}"
            )

    def revive(self) -> int | None:
        """Start it again if it has ended, and return the code it ended with; None if it lives.

        Raises ServerStoppedError when it has ended more than three times in two minutes: what ends
        it will end it again.
        """
        code = self.ended()
        if code is None:
            return None
        now = time.monotonic()
        self.deaths.append(now)
        while now - self.deaths[0] > WITHIN_SECONDS:
            self.deaths.popleft()
        if len(self.deaths) > MAX_DEATHS:
            raise ServerStoppedError(
                f"{self.name} ended {len(self.deaths)} times within two minutes, last with code "
                f"{code}; see {self.log}"
            )
        self.stop()  # what it started may have outlived it
        self.start()
        return code

    def stop(self) -> None:
        """Ask it and its children to end, and end them when they do not."""
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self.process is None or not self._lives():
                return
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, sign)
            deadline = time.monotonic() + STOP_SECONDS
            while self._lives() and time.monotonic() < deadline:
                time.sleep(0.05)

    def _lives(self) -> bool:
        """Whether it, or anything in its process group, still runs."""
        return self.process is not None and (self.ended() is None or _runs(self.process.pid))


def _runs(group: int) -> bool:
    """Whether a process group has a member that is more than an entry waiting to be reaped."""
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def keep_alive(
    servers: Sequence[Server], tell: Callable[[str], None], between: Callable[[], None]
) -> None:
    """Restart what dies, once a second, until interrupted; `between` is called as often."""
    while True:
        time.sleep(1.0)
        for server in servers:
            code = server.revive()
            if code is not None:
                tell(f"{server.name} ended with code {code}; started again, log {server.log}")
        between()


def refuse_taken(option: str, port: int) -> None:
    """InputError, naming the program, when something already listens on a port of loopback."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise InputError(
                f"port {port} is taken by {_listener(port)}",
                f"{option} {port}",
                f"stop that program, or give another port with {option}",
            )


def _listener(port: int) -> str:
    """Name and process id of what listens on a port, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("inet"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port:
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                words = " ".join(process.cmdline())[:80] or process.name()
                return f"process {process.pid} ({words})"
    return "another program"
