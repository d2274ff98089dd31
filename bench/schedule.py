"""The schedule of shards on many workers, simulated from what `bench.workers` measured.

    python -m bench.workers dask | python -m bench.schedule

First it predicts what was measured there: the seconds of 1, 2 and 4 workers that sleep, from the
CPU time that a shard without work took with as many workers, all of which share the machine's
cores. Exit 1 where a prediction is off by more than 10 %. Then it simulates a thousand workers,
each with cores of its own, and the costs of the row with the fewest workers.

The schedule is that of `tasks.runtime.workers`: one process hands over, at most two shards for each
worker, and takes back one after another. A worker takes the next shard when it is free.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.runtime.workers import AHEAD

BAR = 0.10  # by how much a prediction may be off
NAPS = re.compile(r"(\d+) naps of ([\d.]+) s")
ROW = re.compile(r"\| (\d+) \| ([\d.]+) s \| [\d.]+ s \| \d+ \| \d+ \|")
CORES = re.compile(r"What the (\d+) cores did")
USED = re.compile(r"\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|")
PROBLEMS, SAMPLES, WORKERS = 1_000_000, 64, 1_000
SIZES = (16, 64, 256, 1024)  # problems a shard
DEFAULT_SIZE = 64
UNEVEN = 0.25  # how much longer or shorter than the mean a shard may take


@dataclass(frozen=True)
class Costs:
    """CPU seconds a shard beside its work: in the one process, in its worker, in servers.

    The servers are Prefect's and the cluster's. Nobody waits for them, but where they share cores
    with the others they take their part.
    """

    shared: float
    own: float
    servers: float = 0.0


@dataclass(frozen=True)
class Measured:
    """What `bench.workers` printed: naps, and by workers the seconds with them and the costs."""

    naps: int
    nap_seconds: float
    cores: int
    slept: Mapping[int, float]
    costs: Mapping[int, Costs]


@dataclass(frozen=True)
class Simulated:
    """How long all shards take, and the share of the workers' time that was work."""

    seconds: float
    busy: float


def simulate(
    works: Sequence[float], workers: int, costs: Costs, cores: float = math.inf
) -> Simulated:
    """The schedule of shards that take `works` seconds each, handed over in this order.

    All processes share `cores` evenly; work itself takes none of them. Without `cores` each process
    has one of its own.
    """
    return _Schedule(works, workers, costs, _Cores(cores)).run()


class _Cores:
    """Processes that compute and share cores evenly, and others that wait for a time to come."""

    def __init__(self, cores: float) -> None:
        self.now = 0.0
        self._cores = cores
        self._done_each = 0.0  # CPU seconds that a process has got that computed from the start on
        self._computing: list[tuple[float, int, int]] = []  # until that has grown so far
        self._waiting: list[tuple[float, int, int]] = []
        self._begun = 0  # of two that end together the earlier one is first

    def compute(self, who: int, seconds: float) -> None:
        self._begun += 1
        heapq.heappush(self._computing, (self._done_each + seconds, self._begun, who))

    def wait(self, who: int, seconds: float) -> None:
        self._begun += 1
        heapq.heappush(self._waiting, (self.now + seconds, self._begun, who))

    def next(self) -> tuple[int, bool]:
        """Who ends next, and whether it computed."""
        speed = min(1.0, self._cores / max(1, len(self._computing)))
        computed = math.inf
        if self._computing:
            computed = self.now + (self._computing[0][0] - self._done_each) / speed
        waited = self._waiting[0][0] if self._waiting else math.inf
        if computed <= waited:
            self.now, self._done_each = computed, self._computing[0][0]
            return heapq.heappop(self._computing)[2], True
        self._done_each += (waited - self.now) * speed
        self.now = waited
        return heapq.heappop(self._waiting)[2], False


class _Schedule:
    """One process, servers, and workers by number."""

    ONE, SERVERS = -1, -2

    def __init__(self, works: Sequence[float], workers: int, costs: Costs, cores: _Cores) -> None:
        self._works, self._workers, self._costs, self._cores = works, workers, costs, cores
        self._handed = self._under_way = self._untold = 0
        self._ready: deque[int] = deque()
        self._idle = deque(range(workers))
        self._has: dict[int, int] = {}  # the shard of each worker
        self._one_works = False

    def run(self) -> Simulated:
        self._hand_over()
        while self._under_way:
            who, computed = self._cores.next()
            if who == self.SERVERS:
                self._untold -= 1
                self._tell()
            elif who == self.ONE:
                self._one_works = False
                self._ready.append(self._handed)
                self._handed += 1
                self._untold += 1
                if self._untold == 1:
                    self._tell()
            elif computed:
                self._cores.wait(who, self._works[self._has[who]])
            else:
                self._under_way -= 1
                self._idle.append(who)
            self._take()
            self._hand_over()
        seconds = self._cores.now
        return Simulated(seconds, sum(self._works) / (self._workers * seconds))

    def _hand_over(self) -> None:
        """The one process begins with the next shard, if it may."""
        left = self._handed < len(self._works) and self._under_way < AHEAD * self._workers
        if left and not self._one_works:
            self._one_works = True
            self._under_way += 1
            self._cores.compute(self.ONE, self._costs.shared)

    def _take(self) -> None:
        """Workers that are free begin with shards that were handed over."""
        while self._ready and self._idle:
            worker = self._idle.popleft()
            self._has[worker] = self._ready.popleft()
            self._cores.compute(worker, self._costs.own)

    def _tell(self) -> None:
        if self._untold:
            self._cores.compute(self.SERVERS, self._costs.servers)


def predicted(measured: Measured) -> dict[int, float]:
    """The seconds of the naps, by workers."""
    works = [measured.nap_seconds] * measured.naps
    return {
        count: simulate(works, count, measured.costs[count], measured.cores).seconds
        for count in sorted(measured.slept)
    }


def read_table(text: str) -> Measured:
    """What `bench.workers` printed; ValueError where it is something else."""
    naps, rows, cores, used = (
        NAPS.search(text), ROW.findall(text), CORES.search(text), USED.findall(text),
    )  # fmt: skip
    if naps is None or cores is None or len(rows) < 2 or len(used) != len(rows):
        raise ValueError("this is not what bench.workers prints: it has no tables of naps")
    costs = {}
    for workers, *each in used:
        one, worker, everything = (int(milliseconds) / 1000 for milliseconds in each)
        costs[int(workers)] = Costs(one, worker, max(0.0, everything - one - worker))
    return Measured(
        naps=int(naps.group(1)),
        nap_seconds=float(naps.group(2)),
        cores=int(cores.group(1)),
        slept={int(workers): float(seconds) for workers, seconds in rows},
        costs=costs,
    )


def uneven(count: int, mean: float, seed: int = 0) -> list[float]:
    """Seconds of so many shards, up to a quarter longer or shorter than their mean."""
    chance = random.Random(seed)
    return [mean * chance.uniform(1 - UNEVEN, 1 + UNEVEN) for _ in range(count)]


def lines_of_prediction(measured: Measured) -> Iterator[str]:
    """A table of what was predicted beside what was measured."""
    yield f"{measured.naps} naps of {measured.nap_seconds:g} s on {measured.cores} cores.\n"
    yield "| workers | CPU ms: one process, worker, servers | measured | predicted | off by |"
    yield "|---|---|---|---|---|"
    for count, seconds in predicted(measured).items():
        real, costs = measured.slept[count], measured.costs[count]
        each = ", ".join(f"{1000 * one:.0f}" for one in (costs.shared, costs.own, costs.servers))
        off = 100 * (seconds / real - 1)
        yield f"| {count} | {each} | {real:.1f} s | {seconds:.1f} s | {off:+.1f} % |"


def lines_of_plan(costs: Costs, rate: float, read: float) -> Iterator[str]:
    """A table of shard sizes for a million problems, at `rate` completions a second and worker.

    `read` is how many seconds the one process needs to read a shard of 64 problems.
    """
    ideal = PROBLEMS * SAMPLES / (WORKERS * rate)
    yield f"\n{PROBLEMS:,} problems x {SAMPLES} samples on {WORKERS:,} workers, each of which makes"
    yield f"{rate:g} completions a second: {ideal:,.0f} s without any cost. The one process reads"
    yield f"a shard of {DEFAULT_SIZE} problems in {read:g} s.\n"
    yield "| problems a shard | shards | a shard's work | all shards | workers at work |"
    yield "|---|---|---|---|---|"
    for size in SIZES:
        shards, work = -(-PROBLEMS // size), size * SAMPLES / rate
        shared = costs.shared + read * size / DEFAULT_SIZE
        found = simulate(uneven(shards, work), WORKERS, Costs(shared, costs.own))
        yield (
            f"| {size} | {shards:,} | {work:,.1f} s | {found.seconds:,.0f} s | "
            f"{100 * found.busy:.0f} % |"
        )
    each = costs.shared + read
    kept = DEFAULT_SIZE * SAMPLES / rate / each
    yield f"\nWith {DEFAULT_SIZE} problems a shard the one process takes {each:.2f} s of its own"
    yield f"for each, which keeps {kept:,.0f} such workers busy."


def main() -> int:
    """Print both tables; exit 1 where a prediction is off, 2 where there is nothing to predict."""
    parser = argparse.ArgumentParser(prog="bench.schedule", description=__doc__)
    parser.add_argument("table", nargs="?", type=Path, help="a file of it, instead of stdin")
    parser.add_argument(
        "--rate", type=float, default=20.0, help="completions a second that one worker makes"
    )
    parser.add_argument(
        "--read", type=float, default=0.0, help="seconds to read a shard, as bench.table_bytes says"
    )
    parser.add_argument(
        "--costs",
        type=float,
        nargs=2,
        metavar=("SHARED", "OWN"),
        help="seconds a shard in the one process and in its worker; nothing is predicted then",
    )
    given = parser.parse_args()
    if not 0 < given.rate < math.inf:
        print(f"bench.schedule: --rate {given.rate:g}: a worker makes more than 0", file=sys.stderr)
        return 2
    if given.costs:
        print("\n".join(lines_of_plan(Costs(*given.costs), given.rate, given.read)).strip())
        return 0
    try:
        measured = read_table(given.table.read_text() if given.table else sys.stdin.read())
    except (OSError, ValueError) as error:
        print(f"bench.schedule: {error}", file=sys.stderr)
        return 2
    alone = measured.costs[min(measured.costs)]
    plan = lines_of_plan(alone, given.rate, given.read)
    print("\n".join([*lines_of_prediction(measured), *plan]))
    off = [abs(s / measured.slept[n] - 1) for n, s in predicted(measured).items()]
    return 1 if max(off) > BAR else 0


if __name__ == "__main__":
    sys.exit(main())
