"""Which trials there are, in the full form and in the short one, and how they are run."""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.commands import Event, Zygote
from tests.faults.disks import small_disk
from tests.faults.points import Points
from tests.faults.scenes import EVAL, LEARN, Scene, make_scenes
from tests.faults.server import PrefectServer
from tests.faults.servers import (
    MLFLOW,
    PREFECT,
    own_server_killed,
    prefect_frozen,
    prefect_restarted,
    up_frozen,
)
from tests.faults.together import first_uses, other_seeds, promotions, same_seed
from tests.faults.trials import (
    Bench,
    Outcome,
    clock_steps,
    full_disk,
    killed_at,
    killed_at_random,
)

WORKERS = 2
PREPARE = ("open", "mkdir", "fsync")  # kinds of calls that only lead to what takes effect
FREES = ("unlink", "rmdir")  # a full disk does not refuse them
HOUR, DAY = 3600.0, 86400.0
Trial = Callable[[], Outcome]
Disks = queue.Queue[Path | None]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Extent:
    """How many trials: at random moments, and of each point how many, None for all."""

    random_moments: int
    points: int | None
    disks: int | None
    at_once: Sequence[int]
    promotions: Sequence[int]
    freezes: int
    own_servers: int
    clocks: int
    up: bool


FULL = Extent(40, None, None, (2, 3, 5, 8, 20), (2, 4, 8), 4, 6, 8, up=True)
QUICK = Extent(2, 3, 1, (2,), (), 1, 1, 0, up=False)


@dataclass(frozen=True)
class Ground:
    """What every trial stands on: prepared folders, a Prefect server, and where commands start.

    Those of `alone` find or start a server themselves: which one is used is read by Prefect when
    it is imported, so their zygote has not imported it.
    """

    place: Path
    bench: Bench
    scenes: Mapping[str, Scene]
    server: PrefectServer
    alone: Zygote


@dataclass(frozen=True)
class Ran:
    """What came of the trials, and how many have not begun in time."""

    outcomes: Sequence[Outcome]
    left_out: int

    @property
    def harmed(self) -> list[Outcome]:
        """Those in which something happened: some commands are over before they are killed."""
        return [outcome for outcome in self.outcomes if outcome.happened]


@contextmanager
def prepared(place: Path, say: Say) -> Iterator[Ground]:
    """A Prefect server, a zygote, and each command run once without harm."""
    server = PrefectServer(place / "server")
    zygote = Zygote(place / "commands", server.environment)
    alone = Zygote(place / "commands-alone", {}, prefect=False)
    try:
        server.start()
        say("preparing: each command once, unharmed")
        scenes = make_scenes(zygote, place)
        for scene in scenes.values():
            say(f"  {scene.name}: {len(scene.events)} events, {scene.seconds:.1f} s")
        yield Ground(place, Bench(zygote, place), scenes, server, alone)
    finally:
        zygote.close()
        alone.close()
        server.close()


def points_met(scenes: Mapping[str, Scene]) -> Points:
    """Every point that the unharmed commands came by."""
    return {(scene.name, event.point) for scene in scenes.values() for event in scene.events}


def run_trials(
    ground: Ground,
    extent: Extent,
    seed: int,
    say: Say,
    minutes: float | None = None,
    skip: int = 0,
) -> Ran:
    """Every trial of this extent but for the first `skip`; the same seed gives the same trials.

    None begins after so many minutes.
    """
    chance = random.Random(seed)
    end = None if minutes is None else time.monotonic() + 60 * minutes
    outcomes: list[Outcome] = []
    with ExitStack() as stack:
        disks: Disks = queue.Queue()
        for _ in range(WORKERS):
            disks.put(stack.enter_context(small_disk()))
        if None in disks.queue:
            say("no disk of its own can be mounted here: writes are refused instead")
        parallel = [*_kills(ground, extent, chance), *_clocks(ground, extent, chance)]
        parallel += _full_disks(ground, extent, chance, disks)
        parallel += _own_servers(ground, extent, chance)
        chance.shuffle(parallel)
        alone = [*_at_once(ground, extent), *_servers(ground, extent, chance)]
        alone, parallel = alone[skip:], parallel[max(0, skip - len(alone)) :]
        say(f"{len(alone)} trials one by one, then {len(parallel)}, {WORKERS} at a time")
        _collect(outcomes, map(partial(_in_time, end), alone), say)
        with ThreadPoolExecutor(WORKERS) as workers:
            _collect(outcomes, workers.map(partial(_in_time, end), parallel), say)
    return Ran(outcomes, left_out=len(alone) + len(parallel) - len(outcomes))


def _in_time(end: float | None, trial: Trial) -> Outcome | None:
    if end is not None and time.monotonic() >= end:
        return None
    try:
        return trial()
    except AssertionError as error:  # what a trial needs did not come about
        broken = Outcome("broken trial", str(error), True)
        broken.difference.others.append(str(error))
        return broken


def _kills(ground: Ground, extent: Extent, chance: random.Random) -> list[Trial]:
    bench, scenes = ground.bench, list(ground.scenes.values())
    found: list[Trial] = []
    kills = _chosen_points(scenes, chance)
    if extent.points is not None:
        kills = chance.sample(kills, extent.points)
    for scene, event, after in kills:
        found.append(partial(killed_at, bench, scene, event, after=after))
    for number in range(extent.random_moments):
        scene = scenes[number % len(scenes)]
        own = random.Random(chance.random())
        found.append(partial(killed_at_random, bench, scene, own))
    return found


def _chosen_points(
    scenes: Iterable[Scene], chance: random.Random, *, quickest: bool = False
) -> list[tuple[Scene, int, bool]]:
    """Each point once before the call, in any of the commands that come by it, at any time.

    With `quickest`, in the one that is over first. What takes effect by itself, as a rename or a
    commit, is also killed behind the call. Behind the others is before the next one: every call
    that changes a folder is a point.
    """
    met: dict[str, dict[str, list[Event]]] = {}
    for scene in (by_name := {scene.name: scene for scene in scenes}).values():
        for event in scene.events:
            met.setdefault(event.point, {}).setdefault(scene.name, []).append(event)
    chosen = []
    for times in met.values():

        def one(times: dict[str, list[Event]] = times) -> tuple[Scene, Event]:
            names = sorted(times, key=lambda name: by_name[name].seconds)
            name = names[0] if quickest else chance.choice(names)
            return by_name[name], chance.choice(times[name])

        scene, event = one()
        chosen.append((scene, event.number, False))
        if event.kind not in PREPARE:
            scene, event = one()
            chosen.append((scene, event.number, True))
    return chosen


def _clocks(ground: Ground, extent: Extent, chance: random.Random) -> list[Trial]:
    if ground.bench.zygote.clock is None:
        return []
    found: list[Trial] = []
    scenes = list(ground.scenes.values())
    for number in range(extent.clocks):
        scene = scenes[number % len(scenes)]
        # at most as many as there are: a short command has few events
        at = sorted(chance.sample(range(1, len(scene.events) + 1), 3))
        steps = dict(zip(at, chance.sample((5 * HOUR, -7 * HOUR, DAY, -DAY), 3), strict=True))
        found.append(partial(clock_steps, ground.bench, scene, steps))
    return found


def _full_disks(ground: Ground, extent: Extent, chance: random.Random, disks: Disks) -> list[Trial]:
    kinds = {
        (scene.name, event.number): event.kind
        for scene in ground.scenes.values()
        for event in scene.events
    }
    chosen = [
        (scene, event)
        for scene, event, after in _chosen_points(ground.scenes.values(), chance, quickest=True)
        if not after and kinds[scene.name, event] not in FREES
    ]
    if extent.disks is not None:
        chosen = chance.sample(chosen, extent.disks)
    return [partial(_on_a_disk, ground.bench, scene, event, disks) for scene, event in chosen]


def _on_a_disk(bench: Bench, scene: Scene, event: int, disks: Disks) -> Outcome:
    disk = disks.get()
    try:
        return full_disk(bench, scene, event, disk)
    finally:
        disks.put(disk)


def _at_once(ground: Ground, extent: Extent) -> list[Trial]:
    bench, scenes = ground.bench, ground.scenes
    found: list[Trial] = []
    for count in extent.at_once:
        found.append(partial(first_uses, bench, scenes, count))
        found.append(partial(same_seed, bench, scenes, min(count, 5)))
    found.append(partial(other_seeds, bench, scenes, 3))
    for count in extent.promotions:
        found.append(partial(promotions, bench, scenes, count))
    return found


def _servers(ground: Ground, extent: Extent, chance: random.Random) -> list[Trial]:
    """Prefect's server, which the other trials use too, harmed while a command uses it."""
    found: list[Trial] = []
    for number in range(extent.freezes):
        scene = ground.scenes[EVAL if number % 2 else LEARN]
        for harm in (prefect_frozen, prefect_restarted):
            event = chance.randint(1, len(scene.events))
            found.append(partial(harm, ground.bench, scene, ground.server, event))
    return found


def _own_servers(ground: Ground, extent: Extent, chance: random.Random) -> list[Trial]:
    """Servers that a command has for itself, and those of `up`, harmed while they are used."""
    found: list[Trial] = []
    scene, alone = ground.scenes[EVAL], ground.alone
    for _ in range(extent.own_servers):
        own = random.Random(chance.random())
        found.append(partial(own_server_killed, alone, ground.place, scene, own))
    if extent.up:
        events = chance.sample(range(1, len(scene.events) + 1), 2)
        found += [
            partial(up_frozen, alone, scene, ground.place / f"up-{event}" / "home", words, event)
            for words, event in zip((PREFECT, MLFLOW), events, strict=True)
        ]
    return found


def _collect(into: list[Outcome], outcomes: Iterable[Outcome | None], say: Say) -> None:
    for outcome in outcomes:
        if outcome is None:
            continue
        into.append(outcome)
        if outcome.difference or not outcome.happened:
            say(outcome.line() if outcome.happened else f"nothing happened: {outcome.what}")
