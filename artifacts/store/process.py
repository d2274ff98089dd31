"""Which process writes something, so that what a killed one left can be told from what goes on.

psutil is imported where it is asked: the help of a command needs no more than its option's names.
"""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path

PROCESS_IDS = Path("/proc/self/ns/pid")  # links to `pid:[NUMBER]`, the namespace of process ids


@lru_cache
def process(number: int) -> str:
    """A process in words: machine, process id, and when it began, in seconds after the boot."""
    return f"{_machine()} {number} {_began(number):.1f}"


def this_process() -> str:
    """This process, as `process` names it."""
    return process(os.getpid())


def is_gone(named: str) -> bool:
    """Whether a process, as `process` named it, has ended.

    Of a process of another machine, or of another container, nothing is known here, so it is taken
    to be there. An earlier version named the machine alone.
    """
    import psutil

    try:
        machine, number, began = named.rsplit(" ", 2)
        if machine not in (_machine(), platform.node()):
            return False
        found = psutil.Process(int(number))
        other = abs(_began(found.pid) - float(began)) > 1  # its number was given to another one
        return other or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.AccessDenied):
        return False


def is_elsewhere(named: str) -> bool:
    """Whether a process, as `process` named it, is of another machine or container."""
    machine = named.rsplit(" ", 2)[0] if named.count(" ") >= 2 else ""
    return bool(machine) and machine not in (_machine(), platform.node())


def _machine() -> str:
    """The machine, and within which namespace a process id has its meaning: `HOST:NUMBER`."""
    try:
        namespace = str(PROCESS_IDS.readlink())
    except OSError:  # no such thing here
        return platform.node()
    return f"{platform.node()}:{namespace.removeprefix('pid:').strip('[]')}"


def _began(number: int) -> float:
    import psutil

    # both are read off the wall clock, so a step of the clock moves both
    return float(psutil.Process(number).create_time() - psutil.boot_time())
