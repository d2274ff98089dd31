"""Processes that have to keep running: started in groups of their own, restarted, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
import psutil

from schemas.errors import ThreeLoopsError

START_SECONDS = 180.0
STOP_SECONDS = 8.0  # for each signal
LOOK_SECONDS = 1.0  # between two looks at what has to run
MAX_DEATHS, WITHIN_SECONDS = 3, 120.0


class ServerStoppedError(ThreeLoopsError):
    """One of the servers ended by itself, again and again; its log says why."""


@dataclass
class Server:
    """One command that is kept running.

    It serves on the Unix socket `address`, None for one that serves nobody; `health` is a path that
    answers there. It inherits the open files `passed`. What it prints goes into `log`, which starts
    empty with every `start`.
    """

    name: str
    words: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    address: Path | None = None
    health: str = "/health"
    passed: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    deaths: deque[float] = field(default_factory=deque)

    def start(self) -> None:
        """Start it in a process group of its own."""
        if self.address:
            self.address.unlink(missing_ok=True)  # the last process may have left it
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.words,
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=self.passed,
            )

    def ended(self) -> int | None:
        """Its exit code once it has ended, else None."""
        return self.process.poll() if self.process else None

    def wait_until_it_answers(self) -> None:
        """Return when `health` answers; ServerStoppedError when it ends first or takes too long."""
        if self.address is None:
            return
        deadline = time.monotonic() + START_SECONDS
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.address))) as client:
            while time.monotonic() < deadline:
                if (code := self.ended()) is not None:
                    raise ServerStoppedError(f"{self.name} ended with code {code}; see {self.log}")
                if self.address.exists():  # a connection that fails leaves a socket open
                    with contextlib.suppress(httpx.HTTPError):
                        client.get(f"http://localhost{self.health}", timeout=2).raise_for_status()
                        return
                time.sleep(0.3)
        raise ServerStoppedError(
            f"{self.name} did not answer in {START_SECONDS:.0f} s; see {self.log}"
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
        stop_together([self])

    def send(self, sign: signal.Signals) -> None:
        """Send a signal to it and its children."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, sign)

    def lives(self) -> bool:
        """Whether it, or anything in its process group, still runs."""
        return self.process is not None and (self.ended() is None or _runs(self.process.pid))


def stop_together(servers: Sequence[Server]) -> None:
    """Ask all of them to end, and end those that do not: in 24 s at most, however many they are."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        living = [server for server in servers if server.lives()]
        for server in living:
            server.send(sign)
        deadline = time.monotonic() + STOP_SECONDS
        while any(server.lives() for server in living) and time.monotonic() < deadline:
            time.sleep(0.05)


def _runs(group: int) -> bool:
    """Whether a process group has a member that is more than an entry waiting to be reaped."""
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


class Interrupts:
    """A handler of signals: it interrupts what is begun, and only remembers once `raises` is False.

    An exception can come anywhere: where a library clears it, or between taking a lock and the
    block that gives it back.
    """

    heard, raises = False, True

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.heard = True
        if self.raises:
            raise KeyboardInterrupt


def keep_alive(
    servers: Sequence[Server],
    tell: Callable[[str], None],
    between: Callable[[], None],
    interrupts: Interrupts,
) -> None:
    """Restart what dies, once a second, until interrupted; `between` is called as often."""
    while not _waited(LOOK_SECONDS, interrupts):
        for server in servers:
            code = server.revive()
            if code is not None:
                tell(f"{server.name} ended with code {code}; started again, log {server.log}")
        between()


def _waited(seconds: float, interrupts: Interrupts) -> bool:
    """Wait, and say whether an interrupt has come by then."""
    deadline = time.monotonic() + seconds
    while not interrupts.heard and time.monotonic() < deadline:
        time.sleep(0.05)
    return interrupts.heard
