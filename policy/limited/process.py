"""What comes with a model runs in a process of its own, which is ended when it takes too much.

A chat template and a tokenizer are programs of strangers. One may be quick for one text and endless
for the next, and inside a library not even Ctrl-C reaches it. The process stays for the next
question, because a start takes 0.1 s, and ends with this one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")

CHILD = Path(__file__).with_name("process_child.py")
# where the system has no limit of time, and for a machine that gives the child no time at all
WALL_FACTOR, PATIENCE_SECONDS = 3.0, 60.0
IDLE_SECONDS = 0.5  # a child that has computed no longer has only waited for the machine
POLL_SECONDS = 0.05
CHUNK = 2**16


class LimitError(Exception):
    """A question took more than it may."""


class TimeLimitError(LimitError):
    """It computed for too long."""


class MemoryLimitError(LimitError):
    """It needed too much memory, or ended for a reason that nobody knows."""


class LimitedProcess:
    """A program that answers questions. One that went over a limit, or has ended, is replaced."""

    def __init__(self, program: Path, memory_bytes: int) -> None:
        self.program, self.memory_bytes = program, memory_bytes
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._lock = threading.Lock()

    def ask(self, question: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The answer to a question that may compute for so many seconds; LimitError without one."""
        asked = json.dumps({**question, "cpu_seconds": seconds}, default=str).encode() + b"\n"
        with self._lock:
            child, output = self._started(), b""
            try:
                output = self._asked(child, asked, seconds)
            finally:
                if not output.endswith(b"\n"):  # over a limit or interrupted: it is not ours
                    self.close()
        if output.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(output)
            return answer
        if child.returncode == -signal.SIGXCPU:
            raise TimeLimitError
        raise MemoryLimitError

    def close(self) -> None:
        """End the process, if there is one."""
        child, self._child = self._child, None
        if child is None or self._owner != os.getpid():
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        child.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # a fork has the pipes of its parent
            self._child, self._owner = None, os.getpid()
            atexit.register(self.close)
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            # -P: a module in the working directory must not stand in for one of Python's
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), str(self.program), str(self.memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        return self._child

    def _asked(self, child: subprocess.Popen[bytes], question: bytes, seconds: float) -> bytes:
        """What the child answered, a whole line if it could; LimitError where it is still at it."""
        assert child.stdin is not None
        assert child.stdout is not None
        started, before, looked = time.monotonic(), _used(child.pid)[1], time.monotonic()
        output, unsent = bytearray(), memoryview(question)
        os.set_blocking(child.stdin.fileno(), False)
        os.set_blocking(child.stdout.fileno(), False)
        with selectors.DefaultSelector() as pipes:
            pipes.register(child.stdin, selectors.EVENT_WRITE)
            pipes.register(child.stdout, selectors.EVENT_READ)
            while True:
                for key, _ in pipes.select(POLL_SECONDS):
                    if key.fileobj is child.stdin:
                        try:
                            unsent = unsent[os.write(key.fd, unsent[:CHUNK]) :]
                        except BrokenPipeError:
                            unsent = unsent[:0]
                        if not unsent:
                            pipes.unregister(child.stdin)
                    elif part := os.read(key.fd, CHUNK):
                        output += part
                    else:
                        child.wait()
                        return bytes(output)
                if output.endswith(b"\n"):
                    return bytes(output)
                now = time.monotonic()
                if now - looked < POLL_SECONDS:
                    continue
                looked = now
                memory, computed = _used(child.pid)
                busy = computed - before > IDLE_SECONDS
                if now - started > (WALL_FACTOR * seconds if busy else PATIENCE_SECONDS):
                    raise TimeLimitError
                if memory > self.memory_bytes:
                    raise MemoryLimitError


def batches(
    items: Iterable[T], size: Callable[[T], int], largest: int, *, most: int | None = None
) -> Iterator[list[T]]:
    """Items in their order, together at most `largest` in size and `most` of them.

    An item that is larger by itself is a batch of its own.
    """
    batch: list[T] = []
    held = 0
    for item in items:
        if batch and (len(batch) == most or held + size(item) > largest):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += size(item)
    if batch:
        yield batch


def _used(process: int) -> tuple[int, float]:
    """Bytes of memory and seconds of computing that a process has taken so far."""
    try:
        found = psutil.Process(process)
        return int(found.memory_info().rss), float(found.cpu_times().user)
    except psutil.Error:  # it has just ended
        return 0, 0.0
