"""A process is known by machine, number and start, and known to be gone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil

from artifacts.store.process import is_gone, this_process


def test_a_process_that_runs_is_not_gone() -> None:
    assert not is_gone(this_process())
    assert not is_gone(f"another-machine {os.getpid()} 1.0"), "nothing is known of it here"
    assert not is_gone(""), "an earlier version named none"


def test_a_process_that_ended_is_gone_also_if_its_number_is_used_again() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(f"{platform.node()} {ended.pid} 1.0")
    machine, number, began = this_process().rsplit(" ", 2)
    assert is_gone(f"{machine} {number} {float(began) - 60}")


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = psutil.Process(ended.pid).create_time() - psutil.boot_time()
    owner = f"{platform.node()} {ended.pid} {began:.1f}"
    assert not is_gone(owner)
    ended.kill()
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert is_gone(owner)
    ended.communicate()
