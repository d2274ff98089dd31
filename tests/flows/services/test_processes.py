"""What dies is started again, unless it keeps dying."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows.services import processes
from flows.services.processes import (
    MAX_DEATHS,
    Interrupts,
    Server,
    ServerStoppedError,
    keep_alive,
    stop_together,
)

pytestmark = pytest.mark.slow

Make = Callable[[str], Server]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """A server that runs a line of Python; stopped at the end."""
    made: list[Server] = []

    def call(code: str) -> Server:
        words = [sys.executable, "-c", code]
        made.append(Server("thing", words, dict(os.environ), tmp_path, tmp_path / "thing.log"))
        made[-1].start()
        return made[-1]

    yield call
    for server in made:
        server.stop()


def wait_until_it_ended(server: Server) -> None:
    assert server.process is not None
    server.process.wait(30)


def has_ended(orphan: psutil.Process) -> bool:
    """Whether it runs no more; who adopted it may not have reaped it yet."""
    return not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_a_living_server_is_left_alone_and_a_dead_one_revived(make: Make) -> None:
    server = make("import time; time.sleep(60)")
    assert server.revive() is None
    first = server.process
    assert first is not None
    first.send_signal(signal.SIGKILL)
    wait_until_it_ended(server)
    assert server.revive() == -signal.SIGKILL
    assert server.process is not first
    assert server.ended() is None


def test_what_keeps_dying_is_given_up_with_its_log(make: Make) -> None:
    server = make("import sys; print('no such database'); sys.exit(7)")
    for _ in range(MAX_DEATHS):
        wait_until_it_ended(server)
        assert server.revive() == 7
    wait_until_it_ended(server)
    with pytest.raises(ServerStoppedError, match=r"last with code 7; see .*thing\.log"):
        server.revive()
    assert "no such database" in server.log.read_text()


@pytest.mark.parametrize("deaf_to", ["", "INT", "INT,TERM"])
def test_a_stop_ends_the_children_too(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaf_to: str
) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 1.0)
    child = tmp_path / "child"
    code = (
        "import os, signal, sys, time; from pathlib import Path;"
        "[signal.signal(getattr(signal, 'SIG' + n), signal.SIG_IGN)"
        " for n in sys.argv[2].split(',') if n];"
        "Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    )
    server = make(
        "import subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', {code!r}, {str(child)!r}, {deaf_to!r}]);"
        "time.sleep(60)"
    )
    deadline = time.monotonic() + 30
    while not (child.exists() and child.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    orphan = psutil.Process(int(child.read_text()))
    server.stop()
    assert has_ended(orphan)


def test_servers_that_do_not_listen_are_ended_side_by_side(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf = "[signal.signal(sign, signal.SIG_IGN) for sign in (signal.SIGINT, signal.SIGTERM)]"
    ready = [tmp_path / "first", tmp_path / "second"]
    servers = [
        make(
            f"import signal, time; from pathlib import Path; {deaf};"
            f"Path({str(path)!r}).touch(); time.sleep(60)"
        )
        for path in ready
    ]
    while not all(path.exists() for path in ready):
        time.sleep(0.05)
    sent: list[signal.Signals] = []
    send = Server.send

    def noted(self: Server, sign: signal.Signals) -> None:
        sent.append(sign)
        send(self, sign)

    monkeypatch.setattr(processes, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(Server, "send", noted)
    stop_together(servers)
    assert [server.ended() for server in servers] == [-signal.SIGKILL] * 2
    assert sent == [
        sign for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL) for _ in servers
    ]


def test_a_revival_ends_what_outlived_its_server(make: Make, tmp_path: Path) -> None:
    child = tmp_path / "child"
    server = make(
        "import subprocess, sys; from pathlib import Path;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        f"Path({str(child)!r}).write_text(str(p.pid))"
    )
    wait_until_it_ended(server)
    orphan = psutil.Process(int(child.read_text()))
    assert server.revive() == 0
    assert has_ended(orphan)


def test_a_server_that_ends_before_it_answers_is_named(make: Make, tmp_path: Path) -> None:
    server = make("raise SystemExit(3)")
    server.address = tmp_path / "socket"
    with pytest.raises(ServerStoppedError, match="thing ended with code 3"):
        server.wait_until_it_answers()


def test_a_restart_is_told_once(make: Make) -> None:
    server = make("import time; time.sleep(60)")
    assert server.process is not None
    server.process.kill()
    wait_until_it_ended(server)
    told: list[str] = []
    calls: list[int] = []

    def between() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep_alive([server], told.append, between, Interrupts())
    assert len(told) == 1
    assert told[0].startswith("thing ended with code -9; started again")


@pytest.fixture
def interrupts() -> Iterator[Interrupts]:
    """Handles SIGINT during a test."""
    handler = Interrupts()
    before = signal.signal(signal.SIGINT, handler)
    yield handler
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.1)


def test_an_interrupt_breaks_off_a_start_and_is_remembered(interrupts: Interrupts) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    keep_alive([], print, lambda: pytest.fail("nothing is looked at any more"), interrupts)


def test_an_interrupt_breaks_off_nothing_once_all_run(interrupts: Interrupts) -> None:
    interrupts.raises = False
    whole: list[int] = []

    def between() -> None:
        interrupt()
        whole.append(1)

    keep_alive([], print, between, interrupts)
    assert whole == [1]
