"""`python -m bench.startup`: how long each command takes whose work is small, as a table.

Each row is one command in a fresh process on a warm machine: its median wall time, the CPU time of
it and of what it started, and when it said its first line. `eval` draws with a new seed each time,
so that nothing is taken from the store. With `--home` a data folder is kept for the next call.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.process import ROOT, BenchError, Record, busy_seconds

TEXT = "Final: 42"
QUESTION = "What is 6 times 7?"
ROWS = ("--limit", "250", "--samples", "4")  # 1,000 rows
PATIENCE = 300.0  # seconds for one command
# the name of a row, its bar in seconds, and its words; {new} is a seed that was not used
COMMANDS = (
    ("`--help`", 1.0, ("--help",)),
    ("`runs`", 2.0, ("runs",)),
    ("`show RUN`", 2.0, ("show", "{first}")),
    ("`compare RUN RUN`", 2.0, ("compare", "{first}", "{second}")),
    ("`tokens TEXT`", 2.0, ("tokens", TEXT)),
    ("`tokens TEXT --prompt QUESTION`", 5.0, ("tokens", TEXT, "--prompt", QUESTION)),
    ("`eval --completions RUN`, 1,000 rows", 4.0, ("eval", "--completions", "{rows}")),
    ("`eval --limit 10`", 8.0, ("eval", "--limit", "10", "--seed", "{new}")),
)


@dataclass(frozen=True)
class Took:
    """One command: seconds until it had ended, of CPU, and until the first line of its own."""

    wall: float
    cpu: float
    first_line: float
    others_busy: float  # cores that other programs used meanwhile
    answer: Record


def main() -> None:
    """Measure, and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="runs of each command")
    parser.add_argument("--only", default="", help="commands whose name holds this text")
    parser.add_argument("--home", type=Path, help="a data folder to keep; otherwise a new one")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        home = given.home or Path(scratch)
        names, seeds = prepared(home), count(int(time.time()))
        print("| command | wall | CPU | first line | bar | other cores |")
        print("|---|---|---|---|---|---|")
        for name, bar, words in COMMANDS:
            if given.only not in name:
                continue
            runs = [
                command(home, [word.format(new=next(seeds), **names) for word in words])
                for _ in range(given.times)
            ]
            print(row(name, bar, runs), flush=True)


def row(name: str, bar: float, runs: list[Took]) -> str:
    """A line of the table: medians."""
    wall, cpu, first, others = (
        statistics.median(getattr(run, figure) for run in runs)
        for figure in ("wall", "cpu", "first_line", "others_busy")
    )
    return (
        f"| {name} | {wall:.1f} s | {cpu:.1f} s | {first:.2f} s | {bar:.0f} s | {others:.1f} busy |"
    )


def prepared(home: Path) -> dict[str, str]:
    """The runs that commands name, made where they are not there yet: two small, one of 1,000."""
    known = home / "bench-startup.json"
    if not known.exists():
        small = ("--limit", "10", "--seed")
        asked = {"first": (*small, "1"), "second": (*small, "2"), "rows": ROWS}
        made = {
            name: str(command(home, ["eval", *words, "--json"]).answer["run_id"])
            for name, words in asked.items()
        }
        known.write_text(json.dumps(made))
    names: dict[str, str] = json.loads(known.read_text())
    return names


def command(home: Path, words: list[str]) -> Took:
    """Run one command, timed from its start to its end; BenchError where it fails."""
    busy, started = busy_seconds(), time.monotonic()
    said = {"stdout": b"", "stderr": b""}
    first = None
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "threeloops", *words],
        env=os.environ | {"THREELOOPS_HOME": str(home), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        for name, part in spoken(process):
            said[name] += part
            if first is None and part.strip():
                first = time.monotonic() - started
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or first is None:
        raise BenchError(f"{' '.join(words)} failed:\n{said['stderr'].decode()[-3000:]}")
    cpu = used.ru_utime + used.ru_stime
    lines = said["stdout"].decode().splitlines()
    answer = json.loads(lines[-1]) if "--json" in words else {}
    return Took(wall, cpu, first, max(0.0, (busy_seconds() - busy - cpu) / wall), answer)


def spoken(process: subprocess.Popen[bytes]) -> Iterator[tuple[str, bytes]]:
    """What a process says on either stream, when it says it; TimeoutError after long silence."""
    with selectors.DefaultSelector() as streams:
        for name in ("stdout", "stderr"):
            streams.register(getattr(process, name), selectors.EVENT_READ, name)
        while streams.get_map():
            ready = streams.select(PATIENCE)
            if not ready:
                process.kill()
                raise TimeoutError(f"nothing was said for {PATIENCE:.0f} s")
            for key, _ in ready:
                part = os.read(key.fd, 65536)
                if part:
                    yield str(key.data), part
                else:
                    streams.unregister(key.fileobj)


if __name__ == "__main__":
    main()
