"""Which process writes something, so that what a killed one left can be told from what goes on."""

from __future__ import annotations

import os
import platform
from functools import lru_cache

import psutil


@lru_cache
def process(number: int) -> str:
    """A process in words: machine, process id, and when it began, in seconds after the boot."""
    return f"{platform.node()} {number} {_began(number):.1f}"


def this_process() -> str:
    """This process, as `process` names it."""
    return process(os.getpid())


def is_gone(named: str) -> bool:
    """Whether a process, as `process` named it, has ended.

    Of a process of another machine nothing is known here, so it is taken to be there.
    """
    try:
        machine, number, began = named.rsplit(" ", 2)
        if machine != platform.node():
            return False
        found = psutil.Process(int(number))
        other = abs(_began(found.pid) - float(began)) > 1  # its number was given to another one
        return other or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.AccessDenied):
        return False


def _began(number: int) -> float:
    # both are read off the wall clock, so a step of the clock moves both
    return float(psutil.Process(number).create_time() - psutil.boot_time())
