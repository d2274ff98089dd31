"""`make fuzz`: many inputs for every reader and through the whole command, and a table of them."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from artifacts.store.data_dir import DataDir
from artifacts.tracking.connection import Tracking
from policy.model.tiny import make_tiny_model
from tests.fuzz.generated import tried
from tests.fuzz.guided import guided, is_here
from tests.fuzz.inputs.cases import GOOD, Case, cases
from tests.fuzz.readers.models import import_libraries
from tests.fuzz.room import Room
from tests.fuzz.tally import Tally, keep
from tests.fuzz.targets import TARGETS
from tests.fuzz.through import Commands, check

COMMANDS, FRESH = 500, 5
SEEDS = 200  # generated inputs that the guided fuzzer begins with
HEAD = ("reader", "inputs", "accepted", "refused", "failures", "seconds")


def main() -> int:
    """Fuzz everything, or the readers that are named; returns how many failures there were."""
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("readers", nargs="*", choices=[*TARGETS, "command", []], metavar="READER")
    asked.add_argument("--seed", type=int, default=int(time.time()))
    asked.add_argument("--share", type=float, default=1.0, help="of the usual number of inputs")
    options = asked.parse_args()
    names = options.readers or [*TARGETS, "command"]
    print(
        f"seed {options.seed}" + ("" if is_here() else "; atheris is not here: nothing is guided")
    )
    print(_row(HEAD), flush=True)
    total = Tally()
    with tempfile.TemporaryDirectory(prefix="threeloops-fuzz-") as scratch:
        kit = Kit(Path(scratch))
        for name in names:
            for how, tally in _tallies(name, kit, options.share, options.seed):
                total.merge(tally)
                print(_line(f"{name}{how}", tally), flush=True)
    print(_line("total", total))
    return min(len(total.failures), 1)


class Kit:
    """What readers need, made once: a model and a database."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.tiny = make_tiny_model(scratch / "tiny")
        empty = DataDir(scratch / "empty")
        empty.root.mkdir()
        Tracking(empty).client.search_experiments()
        self.database = empty.tracking_database
        import_libraries(self.room("first"))

    def room(self, name: str) -> Room:
        """A room of its own."""
        return Room(self.scratch / name, self.tiny, self.database)


def _tallies(name: str, kit: Kit, share: float, start: int) -> Iterator[tuple[str, Tally]]:
    if name == "command":
        yield "", _commands(kit.scratch / "command", kit.tiny, int(COMMANDS * share), start)
        return
    target = TARGETS[name]
    tally = tried(target, kit.room(name), int(target.many * share), start)
    yield "", tally
    _report(name, tally)
    many = int(target.guided * share)
    if many and is_here():
        seeds = kit.scratch / f"{name}-seeds"
        seeds.mkdir()
        for path in target.kept:
            shutil.copy(path, seeds)
        _generate(name, seeds, start)
        found = guided(name, seeds, many, start)
        _report(name, found)
        yield ", guided", found


def _generate(name: str, folder: Path, start: int) -> None:
    """Generated inputs as files."""

    def one(content: bytes) -> None:
        (folder / f"{len([*folder.iterdir()])}").write_bytes(content)

    seed(start)(_quietly(SEEDS)(given(TARGETS[name].inputs())(one)))()


def _commands(root: Path, tiny: Path, many: int, start: int) -> Tally:
    """Inputs through the whole command, most of them forked, a few as processes of their own."""
    drawn: list[Case] = []

    def one(case: Case) -> None:
        drawn.append(case)

    seed(start)(_quietly(many)(given(cases())(one)))()
    tally, started = Tally(), time.monotonic()
    with Commands(root) as commands:
        Case([]).lay(commands.folder, tiny)
        replay = [
            "eval",
            *(
                word
                for pair in zip(("--dataset", "--completions"), GOOD, strict=True)
                for word in pair
            ),
        ]
        commands.run(replay)  # so that there is a run to name
        for number, case in enumerate(drawn):
            case.lay(commands.folder, tiny)
            fresh = number < FRESH
            outcome = (commands.fresh if fresh else commands.run)(case.words)
            tally.inputs += 1
            tally.answers["accepted" if outcome.code in (0, 1) else "refused"] += 1
            try:
                check(outcome)
                assert not commands.unfinished(), commands.unfinished()
            except AssertionError as error:
                place = f"{case.words[:2]} {str(error)[-200:]}"
                tally.failures[place] = (f"{error}\nfiles: {case.files}", b"")
                print(f"command: {error}\nfiles: {case.files}", file=sys.stderr)
    tally.seconds = time.monotonic() - started
    return tally


def _quietly(many: int) -> settings:
    return settings(
        max_examples=many,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def _report(name: str, tally: Tally) -> None:
    """Keep each failing input, and say where and why it failed."""
    for place, (story, content) in tally.failures.items():
        path = keep(TARGETS[name], content)
        print(f"{name}: {place}\n  kept as {path}\n{story}", file=sys.stderr)


def _line(name: str, tally: Tally) -> str:
    counts = (tally.inputs, tally.answers["accepted"], tally.answers["refused"])
    return _row(
        (name, *(f"{count:,}" for count in (*counts, len(tally.failures))), f"{tally.seconds:.0f}")
    )


def _row(cells: tuple[str, ...]) -> str:
    first, *others = cells
    return f"{first:30}" + "".join(f"{cell:>12}" for cell in others)


if __name__ == "__main__":
    sys.exit(main())
