"""What the harness harms: six commands, each with the data folder that it starts on."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from policy.model.tiny import make_tiny_model
from tests.faults.commands import Event, Started, Zygote
from tests.faults.folder_state import FolderState, compare, newest_run, read_state
from tests.faults.tracing import Plan

REPLAYED: Mapping[str, str | None] = {"PREFECT_API_URL": None}  # a replay needs no server then
FIRST_USE, EVAL, SELECT, LEARN = "first use", "eval", "select", "learn"
RESCORE, REPLAY, PROMOTE, RESUME = "rescore", "replay", "promote", "resume"
LEARNS = (LEARN, RESUME)


@dataclass(frozen=True)
class Scene:
    """A command on a prepared folder, and what came of it when nobody harmed it."""

    name: str
    arguments: Sequence[str]
    start: Path
    environment: Mapping[str, str | None]
    whole: FolderState
    events: Sequence[Event]
    seconds: float
    left: Sequence[str]  # the files that it made, below the data folder

    def copy(self, to: Path) -> Path:
        """A folder of its own for one trial."""
        shutil.copytree(self.start, to, symlinks=True)
        return to


def make_scenes(zygote: Zygote, place: Path) -> dict[str, Scene]:
    """Prepare every folder and run each command once, unharmed and traced."""
    tiny = str(make_tiny_model(place / "tiny"))
    sums, fives = _sums(place / "sums.jsonl"), _fives(place / "fives.jsonl")
    answers = _answers(place / "answers.jsonl", sums)
    small = ["--dataset", str(sums), "--limit", "6", "--max-new-tokens", "6"]
    empty, ready = place / "empty", place / "ready"
    empty.mkdir()
    done(zygote.run(ready, ["runs"]))
    evaluation = ["eval", "--model", tiny, *small, "--samples", "2", "--shard-size", "4"]
    selection = ["select", "--model", tiny, *small, "--samples", "4"]
    learning = ["learn", "--model", tiny, *small, "--steps", "4", "--problems-per-step", "4"]
    learning += ["--samples", "8", "--evaluation-samples", "2", "--checkpoint-every", "1"]
    learning += ["--dev-every", "2", "--learning-rate", "1e-3"]
    replay = ["eval", "--completions", str(answers), "--dataset", str(sums)]

    def scene(
        name: str,
        arguments: Sequence[str],
        start: Path,
        environment: Mapping[str, str | None] | None = None,
    ) -> Scene:
        unharmed = shutil.copytree(start, place / f"unharmed-{name.replace(' ', '-')}")
        began = time.monotonic()
        ran = zygote.run(unharmed, arguments, environment=environment or {})
        seconds = time.monotonic() - began
        done(ran)
        whole = read_state(unharmed)
        assert not whole.leftovers, whole.leftovers
        left = sorted(_files(unharmed) - _files(start))
        return Scene(name, arguments, start, environment or {}, whole, ran.events(), seconds, left)

    def of_learning() -> list[Scene]:
        learn = scene(LEARN, learning, ready)
        cut_off = shutil.copytree(ready, place / "cut-off")
        killed = zygote.run(cut_off, learning, Plan(kill=_after_a_checkpoint(learn.events)))
        assert killed.code == -signal.SIGKILL, killed.err()
        resume = scene(RESUME, ["learn", "--resume", newest_run(cut_off)], cut_off)
        assert not (found := compare(learn.whole, resume.whole)), found
        return [learn, resume]

    def of_the_gate() -> list[Scene]:
        learned = shutil.copytree(ready, place / "learned")
        done(zygote.run(learned, _towards_five(tiny, fives)))
        return [scene(PROMOTE, ["promote", "models:/threeloops/1"], learned)]

    def of_measuring() -> list[Scene]:
        replayed = scene(REPLAY, replay, ready, REPLAYED)
        scored = place / f"unharmed-{REPLAY}"
        rescored = ["rescore", newest_run(scored), "--scorer", "contains_int@1"]
        return [
            scene(FIRST_USE, replay, empty, REPLAYED),
            replayed,
            scene(EVAL, evaluation, ready),
            scene(SELECT, selection, ready),
            scene(RESCORE, rescored, scored, REPLAYED),
        ]

    with ThreadPoolExecutor() as workers:
        parts = (of_measuring, of_learning, of_the_gate)
        made = [scene for part in workers.map(lambda part: part(), parts) for scene in part]
    return {found.name: found for found in made}


def _after_a_checkpoint(events: Sequence[Event]) -> int:
    """Where a learning run is killed so that it has something to go on from."""
    made = [e for e in events if e.kind == "replace" and e.detail.endswith("/checkpoint.json")]
    assert len(made) > 1, "a run with one checkpoint cannot lose one"
    return made[-1].number + 2


def _files(root: Path) -> set[str]:
    """The files below a folder; what SQLite keeps beside a database belongs to the database."""
    return {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(("-journal", "-wal", "-shm", ".db"))
    }


def done(command: Started) -> None:
    """AssertionError with what it said, unless a command that nobody harmed succeeded."""
    assert command.wait() == 0, f"{command.trace}: {command.code}\n{command.err()}"


def _towards_five(tiny: str, fives: Path) -> list[str]:
    """Learning whose gain is real: every answer is 5, so that the gate has someone to promote."""
    return [
        *("learn", "--model", tiny, "--dataset", str(fives), "--limit", "40"),
        *("--steps", "40", "--problems-per-step", "8", "--samples", "16", "--dev-every", "0"),
        *("--learning-rate", "3e-3", "--max-new-tokens", "6", "--evaluation-samples", "2"),
        *("--kl-weight", "0", "--schedule", "constant"),
    ]


def _sums(path: Path) -> Path:
    """Problems whose answers are one digit, so that a tiny model is right now and then."""
    sums = [(a, b) for a in range(1, 9) for b in range(1, 10 - a)]
    splits = ["train"] * 24 + ["dev"] * 6 + ["holdout"] * 6
    return _write(
        path,
        [
            {"id": f"{a}+{b}", "prompt": f"{a} + {b}?", "expected_answer": a + b, "split": split}
            for (a, b), split in zip(sums, splits, strict=True)
        ],
    )


def _fives(path: Path) -> Path:
    """Differences whose answer is 5."""
    splits = ["train"] * 40 + ["dev"] * 4 + ["holdout"] * 40
    return _write(
        path,
        [
            {"id": f"{b + 5}-{b}", "prompt": f"{b + 5} - {b}?", "expected_answer": 5, "split": s}
            for b, s in enumerate(splits)
        ],
    )


def _answers(path: Path, dataset: Path) -> Path:
    """Answers to the holdout, some right, some wrong."""
    problems = [json.loads(line) for line in dataset.read_text().splitlines()]
    return _write(
        path,
        [
            {"id": row["id"], "samples": [f"Final: {row['expected_answer']}", f"Final: {number}"]}
            for number, row in enumerate(problems)
            if row["split"] == "holdout"
        ],
    )


def _write(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path
