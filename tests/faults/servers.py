"""Servers that stop answering, or are gone and come back, in the middle of a command."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults.commands import SETTINGS, Started, Zygote
from tests.faults.folder_state import compare, read_state
from tests.faults.scenes import Scene
from tests.faults.server import PATIENCE, PrefectServer
from tests.faults.tracing import ROOT
from tests.faults.trials import Bench, Outcome, last_line, recover, said_badly
from tests.running_up import TELLS_WHERE, end, processes

TICK = 0.005
FROZEN = 4.0  # seconds
END_SECONDS = 120.0  # in which `up` has ended, on a machine that does much else
OWN_SERVER_SECONDS = 20.0  # until such a command has ended on a quiet machine
PREFECT, MLFLOW = "prefect.server.api.server:create_app", "mlflow server"  # in their commands


def prefect_frozen(bench: Bench, scene: Scene, server: PrefectServer, event: int) -> Outcome:
    """Prefect's server answers nothing for some seconds; the command only waits."""
    outcome = Outcome("server frozen", f"Prefect's, {scene.name}, at event {event}", True)

    def freeze() -> None:
        server.freeze()
        time.sleep(FROZEN)
        server.thaw()

    _survived(bench, scene, event, freeze, outcome)
    return outcome


def prefect_restarted(bench: Bench, scene: Scene, server: PrefectServer, event: int) -> Outcome:
    """Prefect's server is killed and started again; the command ends well, or is given again."""
    outcome = Outcome("server restarted", f"Prefect's, {scene.name}, at event {event}", True)

    def restart() -> None:
        server.kill()
        server.start()

    home = bench.home(scene)
    command = bench.zygote.start(home, scene.arguments, None, bench.environment)
    outcome.happened = _wait_for(command, event)
    restart()
    command.wait()
    problems = said_badly(command)
    # these trials have a server of their own, and the next command too
    there = Scene(**{**vars(scene), "environment": bench.environment})
    outcome.difference = recover(bench, there, home, ended=command.code == 0)
    outcome.difference.others += problems
    return outcome


def own_server_killed(
    zygote: Zygote, scratch: Path, scene: Scene, chance: random.Random
) -> Outcome:
    """SIGKILL of a command that had started a server for itself; nothing ends that server then."""
    outcome = Outcome("SIGKILL, own server", "", True)
    bench, alone = Bench(zygote, scratch), Scene(**{**vars(scene), "environment": {}})
    home = bench.home(scene)
    command = zygote.start(home, scene.arguments)
    seconds = chance.uniform(0, OWN_SERVER_SECONDS)
    event = chance.randint(1, len(scene.events))
    if chance.random() < 0.5:
        outcome.what = f"{scene.name}, after {seconds:.1f} s"
        time.sleep(seconds)
    else:
        outcome.what = f"{scene.name}, at event {event}"
        _wait_for(command, event)
    command.signal(signal.SIGKILL)
    outcome.happened = command.wait() == -signal.SIGKILL
    if outcome.happened:
        outcome.difference = recover(bench, alone, home)
    left = [process for process in processes(str(home)) if process.status() != psutil.STATUS_ZOMBIE]
    for process in left:
        outcome.difference.leftovers.append(f"process {process.pid} {process.name()}")
        process.kill()
    return outcome


@dataclass
class Up:
    """A running `threeloops up`, with its two servers."""

    home: Path
    pid: int

    def servers(self, words: str) -> list[psutil.Process]:
        """Its processes whose command has these words."""
        found = psutil.Process(self.pid).children(recursive=True)
        return [process for process in found if words in " ".join(process.cmdline())]


@contextmanager
def running_up(home: Path) -> Iterator[Up]:
    """`threeloops up` on a data folder, until the block ends."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "COVERAGE_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    home.mkdir(parents=True, exist_ok=True)
    with (home.parent / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up", "--prefect-port", "0", "--mlflow-port", "0"],
            cwd=ROOT,
            env={**kept, **SETTINGS, **TELLS_WHERE, "THREELOOPS_HOME": str(home), "PATH": path},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (home / "up.json").exists():
            assert process.poll() is None, (home.parent / "up.log").read_text()
            assert time.monotonic() < deadline, "`up` did not start"
            time.sleep(0.2)
        yield Up(home, process.pid)
    finally:
        end(process, home.parent / "up.log", END_SECONDS)


def up_frozen(zygote: Zygote, scene: Scene, home: Path, words: str, event: int) -> Outcome:
    """A server of `up` is frozen for some seconds while a command uses it."""
    outcome = Outcome("server frozen", f"{words} of up, {scene.name}, at event {event}", True)
    with running_up(home) as up:
        command = zygote.start(home, scene.arguments)
        outcome.happened = _wait_for(command, event)
        frozen = up.servers(words)
        assert frozen, f"`up` runs no {words}"
        for process in frozen:
            process.suspend()
        time.sleep(FROZEN)
        for process in frozen:
            process.resume()
        command.wait()
    outcome.difference = compare(scene.whole, read_state(home))
    if command.code:
        outcome.difference.others.append(f"exit {command.code}: {last_line(command)}")
    return outcome


def _survived(
    bench: Bench, scene: Scene, event: int, harm: Callable[[], None], outcome: Outcome
) -> None:
    home = bench.home(scene)
    command = bench.zygote.start(home, scene.arguments, None, bench.environment)
    outcome.happened = _wait_for(command, event)
    harm()
    command.wait()
    outcome.difference = compare(scene.whole, read_state(home))
    if command.code:
        outcome.difference.others.append(f"exit {command.code}: {last_line(command)}")


def _wait_for(command: Started, event: int) -> bool:
    """Wait until the n-th event has been written down; whether the command still went on then."""
    while command.ended.empty() and command.code is None:
        if command.trace.exists() and command.trace.read_bytes().count(b"\n") >= event:
            return True
        time.sleep(TICK)
    return False
