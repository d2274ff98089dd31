"""A command whose stdout is full, closed or not read any more ends in order."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.cli.terminal import Terminal

ROOT = Path(__file__).parents[3]
# a verb that has its result at once
ANSWER = """
import sys
from flows.cli import parser
class Result:
    exit_code = 0
    def as_json(self): return {"a": "b" * 100_000}
def done(options, terminal):
    terminal.out.print("c" * 100_000)
    return Result()
parser._done = done
sys.exit(parser.main(["runs", *sys.argv[1:]]))
"""


def answered(*arguments: str, shell: str) -> subprocess.CompletedProcess[str]:
    """What a shell says of a command; `$COMMAND` in its words runs it."""
    return subprocess.run(
        ["bash", "-c", shell, "bash", sys.executable, "-c", ANSWER, *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_result_that_cannot_be_written_is_one_line() -> None:
    done = answered("--json", shell='"$@" > /dev/full')
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("threeloops: the result was kept, but could not be written to stdout")
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_a_reader_that_has_had_enough_is_no_failure(arguments: list[str]) -> None:
    done = answered(*arguments, shell='"$@" | true; echo ${PIPESTATUS[0]}')
    assert done.stdout == "141\n"
    assert "Traceback" not in done.stderr
    assert "ignored" not in done.stderr


def test_a_file_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from flows.cli import parser\n"
        "parser.main(['nothing'])\n"
        "opened = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "os.write(opened, str(opened).encode())"
    )
    kept = tmp_path / "table"
    subprocess.run(
        ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code, str(kept)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert int(kept.read_text()) > 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_full_stderr_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stderr", full)
        terminal = Terminal(as_json=True)
        terminal.note("on the way")
        terminal.fail("why")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
