"""Commands as the harness starts them: in a child of a zygote, with a plan of what goes wrong."""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.faults.tracing import ROOT, Plan

LONGEST = 1800.0  # seconds for a command on a busy machine
SHIM = Path(__file__).with_name("clock.c")


@dataclass(frozen=True)
class Event:
    """One line of a trace."""

    number: int
    place: str
    kind: str
    detail: str

    @property
    def point(self) -> str:
        """Its name in the list of commit points."""
        return f"{self.place} {self.kind}"


@dataclass
class Started:
    """A command that runs; `wait` returns its exit code, negative for a signal."""

    pid: int
    folder: Path
    trace: Path
    ended: queue.Queue[int]
    began: float = field(default_factory=time.monotonic)
    code: int | None = None

    def wait(self, patience: float = LONGEST) -> int:
        if self.code is None:
            try:
                self.code = self.ended.get(timeout=patience)
            except queue.Empty:
                os.kill(self.pid, signal.SIGABRT)
                raise AssertionError(f"no end after {patience:.0f} s: {self.err()}") from None
        return self.code

    def signal(self, number: int) -> bool:
        """Send a signal; returns whether the process was still there."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def err(self) -> str:
        return self.trace.with_suffix(".err").read_text(errors="replace")

    def out(self) -> str:
        return self.trace.with_suffix(".out").read_text(errors="replace")

    def events(self) -> list[Event]:
        """What it did so far, or until it ended."""
        found = []
        for line in self.trace.read_text().splitlines() if self.trace.exists() else ():
            number, place, kind, detail = line.split("\t", 3)
            found.append(Event(int(number), place, kind, detail))
        return found


class Zygote:
    """A process that forks a child for each command (`tests.faults.zygote`)."""

    def __init__(
        self, scratch: Path, environment: Mapping[str, str], *, prefect: bool = True
    ) -> None:
        self._scratch = scratch
        scratch.mkdir(parents=True, exist_ok=True)
        self.clock = clock_library(scratch)
        more = {"LD_PRELOAD": str(self.clock)} if self.clock else {}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "COVERAGE_"))}
        words = [] if prefect else ["--without-prefect"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote", *words],
            cwd=ROOT,
            env={**kept, **SETTINGS, **environment, **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._numbers = itertools.count(1)
        self._pids: dict[int, queue.Queue[int]] = {}
        self._ends: dict[int, queue.Queue[int]] = {}
        self._writing = threading.Lock()
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(
        self,
        home: Path,
        arguments: Sequence[str],
        plan: Plan | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> Started:
        """Start a command on a data folder."""
        if not self._ready.wait(LONGEST):
            raise AssertionError("the zygote did not start")
        number = next(self._numbers)
        trace = self._scratch / f"{number:05d}.trace"
        temporary = self._scratch / f"{number:05d}.tmp"
        temporary.mkdir()
        request = {
            "id": number,
            "arguments": list(arguments),
            "environment": {
                "THREELOOPS_HOME": str(home),
                "TMPDIR": str(temporary),
                **(environment or {}),
            },
            "out": str(trace.with_suffix(".out")),
            "err": str(trace.with_suffix(".err")),
            "trace": str(trace),
            "plan": asdict(plan or Plan()),
        }
        pid: queue.Queue[int] = queue.Queue()
        self._pids[number], self._ends[number] = pid, queue.Queue()
        assert self._process.stdin is not None
        with self._writing:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        return Started(pid.get(timeout=LONGEST), home, trace, self._ends[number])

    def run(
        self,
        home: Path,
        arguments: Sequence[str],
        plan: Plan | None = None,
        environment: Mapping[str, str | None] | None = None,
    ) -> Started:
        """Start a command and wait for its end."""
        started = self.start(home, arguments, plan, environment)
        started.wait()
        return started

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(LONGEST)
        self._reader.join(LONGEST)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as answers:
            for line in answers:
                answer = json.loads(line)
                if "ready" in answer:
                    self._ready.set()
                elif "pid" in answer:
                    self._pids.pop(answer["id"]).put(answer["pid"])
                else:
                    self._ends.pop(answer["id"]).put(answer["code"])


SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}


def clock_library(scratch: Path) -> Path | None:
    """The library with a clock that can be put forward and back; None without a C compiler."""
    library = scratch / "clock.so"
    try:
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM)],
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return library
