"""One trial: harm a command, give the next one, and compare with a folder nobody harmed."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.commands import Started, Zygote
from tests.faults.folder_state import (
    Difference,
    FolderState,
    compare,
    newest_run,
    read_state,
    statuses,
)
from tests.faults.scenes import LEARNS, PROMOTE, RESCORE, Scene
from tests.faults.tracing import Plan

CUT_OFF = "was cut off"  # what the next command says of a run whose process is gone
NOTHING_TO_RESUME = ("no checkpoint", "no such run")
SOON = 0.1  # seconds after which every command goes on


@dataclass
class Outcome:
    """What came of one trial. `happened` is False where the command was over too soon."""

    kind: str
    what: str
    happened: bool
    difference: Difference = field(default_factory=Difference)
    point: str = ""

    @property
    def recovered(self) -> bool:
        return self.happened and not self.difference

    def line(self) -> str:
        found = self.difference
        said = [*found.lost, *found.doubled, *found.leftovers, *found.others]
        return f"{self.kind}: {self.what}: {'; '.join(said) or 'recovered'}"


@dataclass(frozen=True)
class Bench:
    """What trials work with: where commands start, and where folders are copied to."""

    zygote: Zygote
    scratch: Path
    environment: Mapping[str, str | None] = field(default_factory=dict)

    def home(self, scene: Scene) -> Path:
        """A copy of the folder that a scene starts on."""
        name = f"{scene.name.replace(' ', '-')}-{time.monotonic_ns()}-{threading.get_ident()}"
        return scene.copy(self.scratch / name)


def killed_at(bench: Bench, scene: Scene, event: int, *, after: bool) -> Outcome:
    """SIGKILL before or behind the call that is the n-th event."""
    plan, home = Plan(kill=event, after=after), bench.home(scene)
    command = bench.zygote.run(home, scene.arguments, plan, scene.environment)
    events = command.events()
    point = events[-1].point if events else ""
    what = f"{scene.name}, {'behind' if after else 'before'} event {event}, {point}"
    return _killed(bench, scene, home, command, Outcome("SIGKILL, commit point", what, True), point)


def killed_at_random(bench: Bench, scene: Scene, random_numbers: random.Random) -> Outcome:
    """SIGKILL from outside at any moment of a command.

    One that was faster than unharmed, and over by then, is begun again and killed at an earlier
    moment.
    """
    delay = random_numbers.uniform(0, scene.seconds)
    while True:
        home = bench.home(scene)
        command = bench.zygote.start(home, scene.arguments, environment=scene.environment)
        time.sleep(delay)
        command.signal(signal.SIGKILL)
        command.wait()
        what = f"{scene.name}, after {delay:.2f} of {scene.seconds:.2f} s"
        begun = Outcome("SIGKILL, random moment", what, True)
        outcome = _killed(bench, scene, home, command, begun, "")
        if outcome.happened or delay < SOON:
            return outcome
        delay *= random_numbers.uniform(0, 1)


def _killed(
    bench: Bench, scene: Scene, home: Path, command: Started, outcome: Outcome, point: str
) -> Outcome:
    outcome.point = point
    outcome.happened = command.wait() == -signal.SIGKILL
    if outcome.happened:
        outcome.difference = recover(bench, scene, home)
    _forget(home, outcome)
    return outcome


def full_disk(bench: Bench, scene: Scene, event: int, disk: Path | None) -> Outcome:
    """The disk is full from the n-th event on; `disk` is a small one of its own, if there is one.

    Without one the call itself is refused, as a full disk would refuse it.
    """
    if disk is None:
        home, plan = bench.home(scene), Plan(refuse=event)
    else:
        home = scene.copy(disk / f"home-{time.monotonic_ns()}")
        plan = Plan(fill=event, filler=str(disk / "filler"))
    command = bench.zygote.run(home, scene.arguments, plan, scene.environment)
    events = command.events()
    reached = len(events) >= event
    point = events[event - 1].point if reached else ""
    kind = "disk full" if disk is not None else "write refused"
    outcome = Outcome(kind, f"{scene.name}, from event {event}, {point}", reached, point=point)
    if disk is not None:
        (disk / "filler").unlink(missing_ok=True)
    if reached:
        problems = said_badly(command, (0, 2))
        outcome.difference = recover(bench, scene, home, ended=command.code == 0)
        outcome.difference.others += problems
    shutil.rmtree(home)
    return outcome


def clock_steps(bench: Bench, scene: Scene, steps: Mapping[int, float]) -> Outcome:
    """The wall clock jumps in the middle of a command, which goes on as if nothing were."""
    home = bench.home(scene)
    command = bench.zygote.run(home, scene.arguments, Plan(steps=dict(steps)), scene.environment)
    shown = ", ".join(f"{seconds / 3600:+.0f} h at event {n}" for n, seconds in steps.items())
    outcome = Outcome("clock steps", f"{scene.name}, {shown}", True)
    outcome.difference = compare(scene.whole, read_state(home))
    if command.code:
        outcome.difference.others.append(f"exit {command.code}: {last_line(command)}")
    _forget(home, outcome)
    return outcome


def recover(bench: Bench, scene: Scene, home: Path, *, ended: bool = False) -> Difference:
    """Give the next command as a user would, then compare.

    `ended` says that the harmed command succeeded all the same, so that nothing has to be repeated.
    """
    before, now = statuses(scene.start), statuses(home)
    new = {run: status for run, status in now.items() if before.get(run) != status}
    running = [run for run, status in now.items() if status == "RUNNING"]
    done, again = finished(scene, home, new), 0
    measured_before: FolderState | None = None
    if ended or (done and scene.name != RESCORE):
        first = bench.zygote.run(home, ["runs"])
    elif scene.name in LEARNS and (run := newest_run(home, loop="C") if now else ""):
        first = bench.zygote.run(home, ["learn", "--resume", run], environment=scene.environment)
        if first.code == 2 and any(words in first.err() for words in NOTHING_TO_RESUME):
            second = bench.zygote.run(home, scene.arguments, environment=scene.environment)
            if second.code:
                return _failed(second)
        elif first.code:
            return _failed(first)
        first.code = 0
    else:
        if scene.name == PROMOTE and now:
            measured_before = read_state(home)
        first = bench.zygote.run(home, scene.arguments, environment=scene.environment)
        again = sum(status == "FINISHED" for status in new.values())
    if first.code:
        return _failed(first)
    difference = compare(
        scene.whole, read_state(home), more_runs=again, measured_before=measured_before
    )
    if running and CUT_OFF not in first.err():
        difference.others.append("the next command did not say that a run was cut off")
    return difference


def finished(scene: Scene, home: Path, new: Mapping[str, str]) -> bool:
    """Whether the command had done all it was for when it was harmed."""
    if scene.name == PROMOTE:
        return bool(read_state(home).decisions) if new else False
    top = newest_run(home) if new else ""
    return new.get(top) == "FINISHED"


def said_badly(command: Started, codes: Sequence[int] = (0, 1, 2)) -> list[str]:
    """What is wrong with how a command ended that met a fault of the machine."""
    err, found = command.err(), []
    if "Traceback (most recent call last)" in err:
        found.append(f"a traceback: {' | '.join(err.splitlines()[-30:])}")
    if command.code not in codes:
        found.append(f"exit {command.code}: {last_line(command)}")
    return found


def last_line(command: Started) -> str:
    lines = [line for line in command.err().splitlines() if line.strip()]
    return lines[-1] if lines else "(nothing)"


def _failed(command: Started) -> Difference:
    return Difference(others=[f"the next command: exit {command.code}: {last_line(command)}"])


def _forget(home: Path, outcome: Outcome) -> None:
    """Delete what is not needed to look into a trial that went wrong."""
    if not outcome.difference:
        shutil.rmtree(home, ignore_errors=True)
