"""A lease in a real S3 that its holder can no longer renew, because it is dead or asleep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from artifacts.store.shared.lease import Lease
from artifacts.store.shared.objects import Objects
from artifacts.store.shared.place import shared_store

ROOT = Path(__file__).parents[2]
SECONDS = 3.0
HOLDER = f"""
import sys
from artifacts.store.shared.lease import Lease
from artifacts.store.shared.place import shared_store, store_address

lease = Lease(shared_store(store_address()), "gate", seconds={SECONDS})
lease.acquire(poll=0.1)
print("held", flush=True)
for line in sys.stdin:
    print(lease.still_mine(), flush=True)
lease.release()
"""


@pytest.fixture
def objects(bucket: str) -> Objects:
    found = shared_store(bucket)
    assert found is not None
    return found


@contextmanager
def holder() -> Iterator[subprocess.Popen[str]]:
    """A process of its own that holds the lease, and says at each line whether it still does."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=pipe, stdout=pipe, text=True, env=environment
    ) as process:
        try:
            assert answer(process) == "held"
            yield process
        finally:
            process.kill()


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def asked(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    return answer(process)


def waited_for(objects: Objects) -> tuple[Lease, float]:
    mine, began = Lease(objects, "gate", seconds=SECONDS), time.monotonic()
    mine.acquire(poll=0.1)
    return mine, time.monotonic() - began


def test_a_holder_that_lives_keeps_it_longer_than_its_time(objects: Objects) -> None:
    with holder() as process:
        time.sleep(2 * SECONDS)
        assert asked(process) == "True"


def test_the_lease_of_a_killed_process_is_taken_over_when_its_time_is_over(
    objects: Objects,
) -> None:
    with holder() as process:
        process.send_signal(signal.SIGKILL)
        mine, seconds = waited_for(objects)
    assert seconds >= SECONDS
    assert mine.still_mine()
    mine.release()


def test_a_process_that_slept_finds_that_its_lease_is_anothers(objects: Objects) -> None:
    with holder() as process:
        assert asked(process) == "True"
        process.send_signal(signal.SIGSTOP)
        mine, _ = waited_for(objects)
        process.send_signal(signal.SIGCONT)
        assert asked(process) == "False"
        assert mine.still_mine()
        mine.release()


def test_a_process_that_slept_while_nobody_waited_still_has_it(objects: Objects) -> None:
    with holder() as process:
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5 * SECONDS)
        process.send_signal(signal.SIGCONT)
        assert asked(process) == "True"


def test_a_lease_that_is_released_is_anothers_at_once(objects: Objects) -> None:
    with holder() as process:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=30)
        mine, seconds = waited_for(objects)
    assert seconds < SECONDS
    mine.release()
