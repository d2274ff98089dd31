"""A command that is asked to stop ends, whatever becomes of the exception that tells it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

START = """
import os, signal, sys, threading, time
from flows.cli.stopping import ending_when_asked

def ask():
    os.kill(os.getpid(), signal.SIGTERM)

def work(seconds):  # as a main thread that runs Python: a signal is handled at once
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
"""


def ended(program: str, within: float) -> tuple[int, str, str]:
    """The exit code of a program, and what it wrote on stdout and stderr."""
    began = time.monotonic()
    unmeasured = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(program)],
        env=unmeasured,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert time.monotonic() - began < within
    return done.returncode, done.stdout, done.stderr


def test_an_exception_that_is_lost_is_raised_again() -> None:
    code, out, err = ended(
        """
        class Loses:
            def __del__(self):  # Python ignores what is raised here
                ask()
                work(0.1)

        with ending_when_asked() as asked:
            try:
                Loses()
                print("lost", flush=True)
                work(50)
            except KeyboardInterrupt:
                sys.exit(asked.code())
        """,
        within=20,
    )
    assert (code, out) == (143, "lost\n")
    assert "stopping; what is done is kept" in err


def test_what_is_ended_slowly_is_not_asked_again() -> None:
    code, out, _ = ended(
        """
        with ending_when_asked() as asked:
            try:
                try:
                    ask()
                    work(50)
                finally:
                    work(5)
                    print("kept", flush=True)
            except KeyboardInterrupt:
                sys.exit(asked.code())
        """,
        within=30,
    )
    assert (code, out) == (143, "kept\n")


def test_what_waits_for_ever_while_it_ends_is_asked_once_more() -> None:
    code, out, err = ended(
        """
        held = threading.Lock()
        held.acquire()
        with ending_when_asked(seconds=6) as asked:
            try:
                try:
                    ask()
                    work(50)
                finally:
                    held.acquire()  # the exception left it so
            except KeyboardInterrupt:
                print("went out", flush=True)
                sys.exit(asked.code())
        """,
        within=20,
    )
    assert (code, out, err) == (143, "went out\n", "\nstopping; what is done is kept\n")


@pytest.mark.parametrize(
    "program",
    [
        """
        with ending_when_asked(seconds=2):
            ask_again = threading.Timer(0.2, ask)
            ask_again.start()
            while True:
                try:
                    work(50)
                except KeyboardInterrupt:
                    pass
        """,
        """
        with ending_when_asked(seconds=2):
            signal.signal(signal.SIGTERM, lambda *_: None)  # as a library does
            ask()
            work(50)
        """,
        """
        threading.Thread(target=work, args=[50]).start()  # Python waits for it at exit
        with ending_when_asked(seconds=2):
            try:
                ask()
                work(50)
            except KeyboardInterrupt:
                pass
        """,
        """
        import ctypes
        mutex = ctypes.create_string_buffer(64)
        with ending_when_asked(seconds=2):
            threading.Timer(0.2, ask).start()
            for _ in range(2):  # the second time it waits for ever, and in C
                ctypes.CDLL(None).pthread_mutex_lock(mutex)
        """,
        """
        import ctypes
        def trace(*_):
            return trace
        threading.settrace(trace)  # as debuggers and coverage do
        mutex = ctypes.create_string_buffer(64)
        with ending_when_asked(seconds=2):
            threading.Timer(0.2, ask).start()
            for _ in range(2):  # the second time it waits for ever, and in C
                ctypes.CDLL(None).pthread_mutex_lock(mutex)
        """,
    ],
    ids=["cleared each time", "handler replaced", "hangs at exit", "waits in C", "traced"],
)
def test_a_process_that_does_not_end_is_ended(program: str) -> None:
    code, _, err = ended(program, within=20)
    assert code == 143
    assert err == "\nstopping; what is done is kept\nthreeloops: stopped\n"


def test_ctrl_c_that_is_lost_ends_with_its_own_code() -> None:
    code, _, err = ended(
        """
        with ending_when_asked(seconds=2):
            while True:
                try:
                    os.kill(os.getpid(), signal.SIGINT)
                    work(50)
                except KeyboardInterrupt:
                    pass
        """,
        within=20,
    )
    assert (code, err.splitlines()[-1]) == (130, "threeloops: stopped")


def test_what_a_forked_child_is_sent_is_not_for_its_parent(tmp_path: Path) -> None:
    code, out, err = ended(
        """
        with ending_when_asked(seconds=1):
            child = os.fork()
            if not child:
                signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
                ask()
                work(50)
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            work(4)
        """,
        within=20,
    )
    assert (code, out, err) == (0, "7\n", "")


def test_a_caller_that_goes_on_is_left_alone() -> None:
    code, out, _ = ended(
        """
        before = signal.getsignal(signal.SIGTERM)
        for _ in range(2):
            with ending_when_asked(seconds=1):
                try:
                    ask()
                    work(50)
                except KeyboardInterrupt:
                    pass
        work(3)
        print("went on", signal.getsignal(signal.SIGTERM) == before)
        print(signal.set_wakeup_fd(-1))
        """,
        within=20,
    )
    assert (code, out) == (0, "went on True\n-1\n")
