"""A command that is asked to stop ends at once, with one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.data_folder import all_runs

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.untraced]
MANY = ["--limit", "100", "--samples", "4000", "--shard-size", "4"]  # half a minute and more


@pytest.mark.parametrize(
    ("send", "sign", "code"),
    [
        (os.killpg, signal.SIGINT, 130),
        (os.kill, signal.SIGTERM, 143),
        (os.killpg, signal.SIGTERM, 143),
    ],
    ids=["Ctrl-C, to all of a terminal's", "SIGTERM, to the command", "SIGTERM, to its group"],
)
def test_a_command_is_stopped_at_once(
    tiny: str, send: Callable[[int, int], None], sign: signal.Signals, code: int
) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    # in a session of its own, every process that it starts gets the signal, as in a terminal
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "eval", "--model", tiny, *MANY],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    said = [next(line for line in process.stderr if "completions" in line)]
    began = time.monotonic()
    send(process.pid, sign)
    said += process.stderr.readlines()
    process.stderr.close()
    assert process.wait() == code
    assert time.monotonic() - began < 30
    assert "stopping; what is done is kept\n" in said
    assert said[-1] == "threeloops: stopped\n"
    assert "Traceback" not in "".join(said)
    (run,) = all_runs()
    assert run.status == "KILLED"
