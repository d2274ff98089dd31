"""A chat template's first rendering, in a process of its own that is ended when it takes too much.

A template comes with a model and is a program: jinja's sandbox keeps it from files and from Python,
but not from a loop that never ends or from a text that fills the memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil

CHILD = Path(__file__).with_name("trial_child.py")
CPU_SECONDS = 2  # a chat template takes milliseconds
# where the system has no such limit, and for a machine that gives the child no time at all
WALL_SECONDS, PATIENCE_SECONDS = 6.0, 60.0
IDLE_SECONDS = 0.5  # a child that has computed no longer has only waited for the machine
MEMORY_BYTES = 512 * 2**20
MOST_CHARACTERS = 2_000_000
LONGEST_TEMPLATE = 2_000_000  # characters
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Fault:
    """Why a template cannot be used; `deliberate` where it says so itself."""

    reason: str
    deliberate: bool = False


TOO_LONG = Fault("it takes too long for a chat template")
TOO_MUCH = Fault(f"it needs more than {MEMORY_BYTES // 2**20} MB of memory")


def fault_of(template: str, variables: Mapping[str, Any]) -> Fault | None:
    """Why a chat template cannot be rendered with these variables; None where it can.

    A pair that was tried before is not tried again.
    """
    if len(template) > LONGEST_TEMPLATE:
        return Fault(f"it has more than {LONGEST_TEMPLATE:,} characters")
    return _tried(template, json.dumps(variables, sort_keys=True, default=str))


@lru_cache(maxsize=32)
def _tried(template: str, variables: str) -> Fault | None:
    asked = {
        "template": template,
        "variables": json.loads(variables),
        "cpu_seconds": CPU_SECONDS,
        "memory_bytes": MEMORY_BYTES,
        "most_characters": MOST_CHARACTERS,
    }
    # -P: a module in the working directory must not stand in for one of Python's
    with subprocess.Popen(
        [sys.executable, "-P", str(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        try:
            output, fault = _output(child, json.dumps(asked).encode())
        finally:
            child.kill()
    if fault:
        return fault
    if child.returncode:  # ended by the system at a limit, or by Python without memory
        return TOO_LONG if child.returncode < 0 else TOO_MUCH
    answer = json.loads(output)
    if "error" not in answer:
        return None
    return Fault(answer["error"], deliberate=answer.get("kind") == "TemplateError")


def _output(child: subprocess.Popen[bytes], asked: bytes) -> tuple[bytes, Fault | None]:
    """What the child wrote, or the limit that it went over."""
    started = time.monotonic()
    given: bytes | None = asked
    while True:
        try:
            return child.communicate(given, timeout=POLL_SECONDS)[0], None
        except subprocess.TimeoutExpired:
            given = None  # it is being written
        memory, computed = _used(child.pid)
        waited = time.monotonic() - started
        if waited > (WALL_SECONDS if computed > IDLE_SECONDS else PATIENCE_SECONDS):
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
