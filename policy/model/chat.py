"""Chat templates are rendered in a process of their own, which is ended when it takes too much.

A template comes with a model and is a program: jinja's sandbox keeps it from files and from Python,
but not from a loop that never ends or from a text that fills the memory. It may be quick for one
question and endless for the next, so every rendering happens there. The process stays for the next
ones, and ends with this one.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

CHILD = Path(__file__).with_name("chat_child.py")
CPU_SECONDS, EACH_CPU_SECONDS = 2.0, 0.02  # a chat template takes a fraction of a millisecond
# where the system has no such limit, and for a machine that gives the child no time at all
WALL_FACTOR, PATIENCE_SECONDS = 3.0, 60.0
IDLE_SECONDS = 0.5  # a child that has computed no longer has only waited for the machine
MEMORY_BYTES = 512 * 2**20
MOST_CHARACTERS = 2_000_000  # of a text, beside four times those of the messages
LONGEST_TEMPLATE = 2_000_000  # characters
BATCH, BATCH_CHARACTERS = 256, 1_000_000  # what is rendered at once: chats, and their characters
POLL_SECONDS = 0.05
CHUNK = 2**16

Chat = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Fault:
    """Why a template cannot be used; `deliberate` where it says so itself."""

    reason: str
    deliberate: bool = False


TOO_LONG = Fault("it takes too long for a chat template")
TOO_MUCH = Fault(f"it needs more than {MEMORY_BYTES // 2**20} MB of memory")


class ChatError(Exception):
    """A template cannot show a chat; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


def rendered(template: str, variables: Mapping[str, Any], chats: Sequence[Chat]) -> list[str]:
    """The text of each chat, all with the same `variables`; ChatError when one has none."""
    if len(template) > LONGEST_TEMPLATE:
        raise ChatError(Fault(f"it has more than {LONGEST_TEMPLATE:,} characters"))
    texts: list[str] = []
    for batch in _batches(chats):
        with _lock:
            texts += _renderer().render(template, variables, batch)
    return texts


class Renderer:
    """The process that renders. One that went over a limit, or has ended, is replaced."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._child: subprocess.Popen[bytes] | None = None

    def render(self, template: str, variables: Mapping[str, Any], chats: Sequence[Chat]) -> Any:
        """The text of each chat; ChatError when one has none."""
        seconds = CPU_SECONDS + EACH_CPU_SECONDS * len(chats)
        asked = {
            "template": template,
            "variables": variables,
            "chats": chats,
            "cpu_seconds": seconds,
            "most_characters": MOST_CHARACTERS + 4 * sum(map(_characters, chats)),
        }
        question = json.dumps(asked, default=str).encode() + b"\n"
        output, fault, child = b"", None, self._started()
        try:
            output, fault = _asked(child, question, seconds)
        finally:
            if not output.endswith(b"\n"):  # over a limit, or interrupted: its answer is not ours
                self.close()
        if fault:
            raise ChatError(fault)
        if not output.endswith(b"\n"):  # ended by the system at a limit, or without memory
            raise ChatError(TOO_LONG if (child.returncode or 0) < 0 else TOO_MUCH)
        answer = json.loads(output)
        if "error" in answer:
            deliberate = answer.get("kind") == "TemplateError"
            raise ChatError(Fault(answer["error"], deliberate))
        return answer["texts"]

    def close(self) -> None:
        """End the process, if there is one."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        child.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is not None:
            self.close()
        if self._child is None:
            # -P: a module in the working directory must not stand in for one of Python's
            self._child = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), str(MEMORY_BYTES)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        return self._child


# what is rendered does not depend on it: one process for all, because a start takes 0.1 s
_lock = threading.Lock()
_kept: list[Renderer] = []


def _renderer() -> Renderer:
    if not _kept or _kept[0].owner != os.getpid():  # a fork has the pipes of its parent
        _kept[:] = [Renderer()]
        atexit.register(_kept[0].close)
    return _kept[0]


def _batches(chats: Sequence[Chat]) -> Iterator[list[Chat]]:
    batch: list[Chat] = []
    size = 0
    for chat in chats:
        if batch and (len(batch) == BATCH or size + _characters(chat) > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(chat)
        size += _characters(chat)
    if batch:
        yield batch


def _characters(chat: Chat) -> int:
    return sum(len(message["content"]) for message in chat)


def _asked(
    child: subprocess.Popen[bytes], question: bytes, seconds: float
) -> tuple[bytes, Fault | None]:
    """What the child answered, a whole line if it could, or the limit that it went over."""
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
                    return bytes(output), None
            if output.endswith(b"\n"):
                return bytes(output), None
            now = time.monotonic()
            if now - looked < POLL_SECONDS:
                continue
            looked = now
            memory, computed = _used(child.pid)
            busy = computed - before > IDLE_SECONDS
            if now - started > (WALL_FACTOR * seconds if busy else PATIENCE_SECONDS):
                return b"", TOO_LONG
            if memory > MEMORY_BYTES:
                return b"", TOO_MUCH


def _used(process: int) -> tuple[int, float]:
    """Bytes of memory and seconds of computing that a process has taken so far."""
    try:
        found = psutil.Process(process)
        return int(found.memory_info().rss), float(found.cpu_times().user)
    except psutil.Error:  # it has just ended
        return 0, 0.0
