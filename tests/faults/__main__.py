"""`python -m tests.faults`: what is lost when anything is killed, full, frozen or at once."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.harness import FULL, QUICK, Ran, points_met, prepared, run_trials
from tests.faults.points import faults_of_list, write_list
from tests.faults.table import table, write_page

MEMORY = Path("/dev/shm")  # a kill is no power cut: what counts is not how fast the disk is
ROOM = 4 * 2**30


def main() -> int:
    """Run the harness; returns 1 where anything was lost, doubled, left over or different."""
    options = argparse.ArgumentParser(prog="tests.faults", description=__doc__)
    options.add_argument("--quick", action="store_true", help="a sample of two minutes")
    options.add_argument("--points", action="store_true", help="write commit_points.txt anew first")
    options.add_argument(
        "--minutes", type=float, default=55.0, help="after which no trial begins; default 55"
    )
    options.add_argument("--seed", type=int, default=0, help="which moments; default 0")
    options.add_argument(
        "--skip", type=int, default=0, metavar="N",
        help="leave out the first N, to go on where a run with the same seed had no more time",
    )  # fmt: skip
    given = options.parse_args()
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {line}", file=sys.stderr, flush=True)

    place = scratch()
    try:
        with prepared(place, say) as ground:
            met = points_met(ground.scenes)
            if given.points:
                write_list(met)
            faults = faults_of_list(met)
            extent = QUICK if given.quick else FULL
            ran = run_trials(ground, extent, given.seed, say, given.minutes, given.skip)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    minutes = (time.monotonic() - began) / 60
    text = f"{table(ran.harmed)}\n{_in_words(ran, minutes, given)}\n"
    print(text)
    for line in faults:
        print(line)
    if not given.quick:
        write_page(text)
    return 0 if not faults and all(outcome.recovered for outcome in ran.harmed) else 1


def _in_words(ran: Ran, minutes: float, given: argparse.Namespace) -> str:
    """What the table does not say: how long it took, and what is missing."""
    line = f"{len(ran.harmed)} trials in {minutes:.0f} minutes with seed {given.seed}."
    if given.skip:
        line += f" {given.skip} before them were left out."
    if ran.left_out:
        line += f" {ran.left_out} more had no time, and are not in it."
    return line


def scratch() -> Path:
    """A folder for everything, in memory where there is room."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    return Path(tempfile.mkdtemp(prefix="faults-", dir=MEMORY if roomy else None))


if __name__ == "__main__":
    sys.exit(main())
