"""A process is known by machine, number and start, and known to be gone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil
import pytest

from artifacts.store.process import is_gone, this_process

# a command in a namespace of process ids of its own, as each container has
UNSHARED = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


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


def test_a_name_that_an_earlier_version_wrote_is_read() -> None:
    _, number, began = this_process().rsplit(" ", 2)
    assert not is_gone(f"{platform.node()} {number} {began}")
    assert is_gone(f"{platform.node()} {number} {float(began) - 60}")


def test_of_a_process_in_another_container_of_this_machine_nothing_is_known() -> None:
    code = "from artifacts.store.process import this_process; print(this_process())"
    try:
        inside = subprocess.run(
            [*UNSHARED, sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a namespace of process ids cannot be made here")
    machine, _, began = inside.rsplit(" ", 2)
    assert machine.partition(":")[0] == platform.node()
    assert machine != this_process().rsplit(" ", 2)[0]
    assert not is_gone(inside), "its number means another process, or none, out here"
    assert not is_gone(f"{machine} 999999999 {began}")


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
