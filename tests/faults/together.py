"""Several commands at once on one data folder: no crash, each result right, one winner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.faults.commands import Started
from tests.faults.folder_state import Difference, FolderState, compare, read_state
from tests.faults.scenes import EVAL, FIRST_USE, PROMOTE, Scene
from tests.faults.trials import Bench, Outcome, last_line, said_badly

KIND = "commands at once"


def first_uses(bench: Bench, scenes: Mapping[str, Scene], count: int) -> Outcome:
    """So many commands in a folder that none of them has seen."""
    scene = scenes[FIRST_USE]
    return _all_the_same(bench, scene, count, f"{count} in a new folder")


def same_seed(bench: Bench, scenes: Mapping[str, Scene], count: int) -> Outcome:
    """So many evaluations with one seed: one table, and as many runs that say the same."""
    return _all_the_same(bench, scenes[EVAL], count, f"{count} evaluations, one seed")


def other_seeds(bench: Bench, scenes: Mapping[str, Scene], count: int) -> Outcome:
    """Evaluations with a seed each find what they find one after another."""
    scene = scenes[EVAL]
    commands = [[*scene.arguments, "--seed", str(seed)] for seed in range(count)]
    home = bench.home(scene)
    for words in commands:
        bench.zygote.run(home, words, environment=scene.environment)
    whole = read_state(home)
    home = bench.home(scene)
    ended = _at_once(bench, scene, home, commands)
    outcome = Outcome(KIND, f"{count} evaluations, a seed each", True)
    outcome.difference = compare(whole, read_state(home))
    outcome.difference.others += _badly(ended, {0})
    return outcome


def promotions(bench: Bench, scenes: Mapping[str, Scene], count: int) -> Outcome:
    """The gate is asked so often at once, and promotes once."""
    scene = scenes[PROMOTE]
    home = bench.home(scene)
    ended = _at_once(bench, scene, home, [scene.arguments] * count)
    found = read_state(home)
    outcome = Outcome(KIND, f"{count} promotions", True)
    outcome.difference = Difference(leftovers=list(found.leftovers), others=_badly(ended, {0, 1}))
    decided = Counter({key.split()[0]: times for key, times in found.decisions.items()})
    if decided != {"promoted": 1, "refused": count - 1}:
        which = outcome.difference.doubled if decided["promoted"] > 1 else outcome.difference.lost
        which.append(f"decisions: {dict(decided)}")
    if found.versions != scene.whole.versions:
        outcome.difference.others.append(f"versions: {found.versions}")
    return outcome


def _all_the_same(bench: Bench, scene: Scene, count: int, what: str) -> Outcome:
    home = bench.home(scene)
    ended = _at_once(bench, scene, home, [scene.arguments] * count)
    outcome = Outcome(KIND, what, True)
    outcome.difference = compare(_times(scene.whole, count), read_state(home))
    outcome.difference.others += _badly(ended, {0})
    return outcome


def _times(whole: FolderState, count: int) -> FolderState:
    """What so many equal commands leave: each its run, all together one set of tables."""
    return FolderState(
        tables=whole.tables,
        runs=Counter({key: times * count for key, times in whole.runs.items()}),
        steps=Counter({key: times * count for key, times in whole.steps.items()}),
        weights=whole.weights,
        versions=whole.versions,
        decisions=whole.decisions,
    )


def _at_once(
    bench: Bench, scene: Scene, home: Path, commands: Sequence[Sequence[str]]
) -> list[Started]:
    started = [bench.zygote.start(home, words, None, scene.environment) for words in commands]
    for command in started:
        command.wait()
    return started


def _badly(ended: Sequence[Started], codes: set[int]) -> list[str]:
    found = [problem for command in ended for problem in said_badly(command)]
    return found + [
        f"exit {command.code}: {last_line(command)}"
        for command in ended
        if command.code not in codes
    ]
