"""Inputs that hypothesis generates for one reader, tried in a process of its own within limits."""

from __future__ import annotations

import mmap
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import psutil
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.judge import WAITING_SECONDS, TooSlowError
from tests.fuzz.room import Room
from tests.fuzz.tally import Tally, smaller
from tests.fuzz.targets import Target

MORE_MEMORY = 4 * 2**30  # bytes that reading may take besides what is loaded
LAST = "last"  # the file with the input that is being read


def tried(target: Target, room: Room, many: int, start: int) -> Tally:
    """The tally of `many` generated inputs and those that are kept."""

    def work(alive: Callable[[], None]) -> str:
        return _tried(target, room, many, start, alive).as_json()

    return in_a_process(work, room.inputs / LAST)


def _tried(target: Target, room: Room, many: int, start: int, alive: Callable[[], None]) -> Tally:
    tally = Tally()
    last = room.inputs / LAST

    def one(content: bytes) -> None:
        alive()
        last.write_bytes(content)
        tally.add(target, content, room)

    for path in target.kept:
        one(path.read_bytes())
    how = settings(
        max_examples=many,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(start)(how(given(target.inputs())(one)))()
    for place, (story, content) in tally.failures.items():
        alive()
        if not place.startswith(TooSlowError.__name__):  # each try would take as long
            tally.failures[place] = (story, smaller(target, content, room, place))
    return tally


def in_a_process(work: Callable[[Callable[[], None]], str], last: Path) -> Tally:
    """What `work` returns from a process that may take no more memory than it should.

    `work` says now and then that it is alive, and writes each input into `last`. Where it is silent
    for too long or ends without a result, that is the one failure.
    """
    result = last.with_name("tally.json")
    beat = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            used = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (used + MORE_MEMORY, used + MORE_MEMORY))
            count = 0

            def alive() -> None:
                nonlocal count
                count += 1
                beat[:] = count.to_bytes(8, "little")

            result.write_text(work(alive))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    seen, since = bytes(8), time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if beat[:] != seen:
            seen, since = beat[:], time.monotonic()
        elif time.monotonic() - since > 3 * WAITING_SECONDS:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)
    if status == 0:
        return Tally.from_json(result.read_text())
    content = last.read_bytes() if last.exists() else b""
    story = f"the process ended with status {status} while it read an input"
    return Tally(int.from_bytes(seen, "little"), failures={story: (story, content)})
