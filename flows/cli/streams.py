"""stdin, stdout and stderr where they are closed, full or not read any more."""

from __future__ import annotations

import contextlib
import os
import sys

BROKEN_PIPE = 141  # the exit code of a program that is ended by SIGPIPE


def open_standard_streams() -> None:
    """Give a command that was started without stdin, stdout or stderr an empty one.

    Otherwise the next file that is opened, such as a table, would get its number, and what a
    library or another process prints would be written there.
    """
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def discard_stdout() -> None:
    """Let what is still to be written go nowhere, as Python would fail again when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
