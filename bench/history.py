"""What the past costs: every command in data folders that hold 0, 1,000 and 10,000 older runs.

    python -m bench.history                    the table, and what breaks the bar
    python -m bench.history --runs 0 1000      other numbers of older runs
    python -m bench.history --only runs show   only the commands that begin so

The folders are made by `bench.past_runs`. Each command is a process of its own, as a person starts
it. The folders take turns, so that what else the machine does falls on all of them. The bar: no
command takes more than one second longer than in a folder with no older runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.cells import table
from bench.process import ROOT, BenchError, Record

BAR_SECONDS = 1.0
OLDER = (0, 1_000, 10_000)
ASKED = ("--limit", "4", "--samples", "2", "--max-new-tokens", "4")
# {eval}, {select}, {learn}: names of runs; {model}: a folder; {new}: a path where nothing is
COMMANDS = (
    "runs",
    "runs --json",
    "runs --children",
    "runs --sort pass_rate",
    "runs --model models:/threeloops",
    "runs --failures",
    "show {eval}",
    "show {eval_id}",
    "show {learn}",
    "show nothing-of-this-name",
    "show --lineage models:/threeloops/1",
    "compare {eval} {select}",
    "compare {learn}:before {learn}:after",
    "rescore {eval} --scorer contains_int@1",
    "export {eval} --to jsonl --out {new}",
    "export models:/threeloops/1 --to {new}",
    "eval --completions {eval}",
    "select --completions {eval}",
    "eval --model models:/threeloops/1 --split holdout {asked}",
    "learn --model {model} --split holdout --steps 1 --problems-per-step 2 {asked}",
    "promote models:/threeloops/1",
    "tokens Final --model models:/threeloops/1",
    "prompt --model models:/threeloops/1",
    "sync",
    "doctor",
    "gc",
)
# these look at every file that is kept, which is what they are for
LOOK_AT_ALL = ("doctor", "gc")


def main() -> int:
    """Measure and print; exit 1 where a command breaks the bar."""
    parser = argparse.ArgumentParser(
        prog="bench.history", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--runs", type=int, nargs="+", default=list(OLDER), metavar="N")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="default 3")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="commands that begin with it")
    parser.add_argument(
        "--folder", type=Path, help="where the folders are, and are left for the next time"
    )
    parser.add_argument("--output", type=Path, help="a file for the figures, as JSON")
    given = parser.parse_args()
    scratch = given.folder or Path(tempfile.mkdtemp(prefix="history-"))
    try:
        folders = {older: _folder(scratch, older) for older in given.runs}
        figures = _measured(folders, given.repeats, given.only, scratch)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        if given.folder is None:
            shutil.rmtree(scratch, ignore_errors=True)
    if given.output is not None:
        given.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    slower = _print(figures, given.runs)
    return 1 if slower else 0


def _folder(scratch: Path, older: int) -> Record:
    """A data folder with so many older runs, made where it is not there yet, and what is in it."""
    told = scratch / f"{older}.json"
    if not told.exists():
        done = subprocess.run(
            [sys.executable, "-m", "bench.past_runs", str(scratch), str(older)],
            cwd=ROOT,
            env=_environment(scratch / str(older)),
            capture_output=True,
            text=True,
            check=False,
            umask=0o077,
        )
        if done.returncode:
            raise BenchError(f"no folder with {older} runs:\n{done.stderr[-3000:]}")
    found: Record = json.loads(told.read_text(encoding="utf-8"))
    return found


def _measured(
    folders: dict[int, Record], repeats: int, only: list[str] | None, scratch: Path
) -> Record:
    """By command and number of older runs: wall and CPU seconds of each repetition."""
    figures: Record = {}
    for command in COMMANDS:
        if only and not any(command.startswith(word) for word in only):
            continue
        times: dict[int, list[tuple[float, float]]] = {older: [] for older in folders}
        for turn in range(repeats + 1):
            for older, names in folders.items():
                spent = _timed(command, names, scratch / str(older))
                if turn:  # the first brings files into memory
                    times[older].append(spent)
        figures[command] = {
            str(older): {
                "wall_seconds": median(wall for wall, _ in spent),
                "cpu_seconds": median(cpu for _, cpu in spent),
            }
            for older, spent in times.items()
        }
        print(command, json.dumps(figures[command]), file=sys.stderr, flush=True)
    return figures


def _timed(command: str, names: Record, home: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one command; BenchError where it ends as it should not."""
    with tempfile.TemporaryDirectory() as place:
        known = names | {"new": str(Path(place) / "new"), "asked": " ".join(ASKED)}
        words = command.format(**known).split()
        started, before = time.monotonic(), os.times()
        done = subprocess.run(
            [sys.executable, "-m", "threeloops", *words],
            cwd=place,
            env=_environment(home),
            capture_output=True,
            text=True,
            check=False,
        )
        wall, after = time.monotonic() - started, os.times()
    if done.returncode not in (0, 1, 2) or "Traceback" in done.stderr:
        raise BenchError(f"{command} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def _environment(home: Path) -> dict[str, str]:
    named = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return named | {
        "PYTHONPATH": str(ROOT),
        "THREELOOPS_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _print(figures: Record, counts: list[int]) -> list[str]:
    """Print the table; the commands that break the bar."""
    slower, rows = [], []
    for command, by_count in figures.items():
        spent = [by_count[str(older)] for older in counts]
        wall, cpu = (spent[-1][name] - spent[0][name] for name in ("wall_seconds", "cpu_seconds"))
        looks_at_all = command.split()[0] in LOOK_AT_ALL
        if cpu > BAR_SECONDS and not looks_at_all:
            slower.append(command)
        cells = [f"{one['wall_seconds']:.2f} / {one['cpu_seconds']:.2f}" for one in spent]
        rows.append([f"`{command}`", *cells, f"{wall:+.2f} / {cpu:+.2f}"])
    head = ["seconds: wall / CPU", *(f"{older:,} older runs" for older in counts), "more"]
    print("\n".join(table(head, rows)))
    for command in slower:
        print(f"breaks the bar of {BAR_SECONDS:+g} s: {command}")
    return slower


if __name__ == "__main__":
    sys.exit(main())
