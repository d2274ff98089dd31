"""What every check of the doctor is given, and what it gives back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.doctor.locks import lock_held
from artifacts.doctor.meanings import MEANINGS
from artifacts.doctor.recorded import Recorded
from artifacts.doctor.set_aside import SetAside
from artifacts.doctor.snapshot import InUseError, UnreadableError
from artifacts.doctor.store_look import StoreLook
from artifacts.store.data_dir import DataDir
from artifacts.store.stored_bytes import StoredBytes
from artifacts.tracking.connection import Tracking
from policy.files.atomic_folder import held_alone
from schemas.health import Finding

FIRST, USUAL = 0, 1  # the turns of repairs
HELD = "not repaired: another process uses it"
NOT_JUDGED = {
    "changing": "not repaired: another process writes it",
    "unreadable": "not repaired: it cannot be read",
}
SHOWN = 12  # characters of a digest in a line


@dataclass(frozen=True)
class Repair:
    """The safe part that can be done: `do` says in words what it did, None where it could nothing.

    What copies has the first turn, before its source is moved.
    """

    do: Callable[[SetAside], str | None]
    turn: int = USUAL


@dataclass(frozen=True)
class Found:
    """A finding, and its repair, if there is one."""

    finding: Finding
    repair: Repair | None = None


@dataclass
class Examination:
    """One look at a data folder: where it is, what its files are, what MLflow recorded.

    `recorded` is None where MLflow's database is missing, damaged or in use, or has no experiment
    of ours. `read_again` reads it anew. `counts` is how much was looked at, by name. `store` is the
    shared store; of one that does not answer nothing is known.
    """

    data_dir: DataDir
    stored: StoredBytes
    recorded: Recorded | None
    read_again: Callable[[], Recorded | None]
    counts: dict[str, int] = field(default_factory=dict)
    store: StoreLook = field(default_factory=lambda: StoreLook(""))

    def count(self, name: str, number: int = 1) -> None:
        """Add to how many of these were looked at."""
        self.counts[name] = self.counts.get(name, 0) + number

    def found(
        self,
        name: str,
        where: Path | str,
        what: str,
        repair: Repair | None = None,
    ) -> Found:
        """A finding of this name; a path is shown from the data folder on."""
        return Found(finding(name, self.shown(where), what), repair)

    def shown(self, where: Path | str) -> str:
        """A path as it is printed."""
        if isinstance(where, Path) and where.is_relative_to(self.data_dir.root):
            return str(where.relative_to(self.data_dir.root))
        return str(where)

    def may_be_written(self, run_id: str) -> bool:
        """Whether a process may be writing what belongs to a run, asked at this moment."""
        try:
            now = self.read_again()
        except (InUseError, UnreadableError):
            return True
        run = now.runs.get(run_id) if now else None
        return run is not None and run.goes_on

    def is_nobodys(self, run_id: str) -> bool:
        """Whether no run has this id, asked at this moment: not here, and not on a server."""
        if self.has_server or (self.data_dir.run_artifacts / run_id).exists():
            return False
        try:
            now = self.read_again()
        except (InUseError, UnreadableError):
            return False
        return now is not None and run_id not in now.runs

    @property
    def has_server(self) -> bool:
        """Whether MLflow is a server, whose runs the data folder's database does not have."""
        return Tracking(self.data_dir).remote

    def moved(self, path: Path, still: Callable[[], bool], lock: Path | None = None) -> Repair:
        """The repair that sets a file or folder aside, where `still` says again that it is to be.

        `lock` is the lock file of whoever writes it, which is held meanwhile; of a folder, its own.
        """

        def repair(aside: SetAside) -> str | None:
            with _alone(path, lock) as mine:
                if not mine:
                    return HELD if path.exists() else None
                return aside.move(path) if still() else None

        return Repair(repair)

    def copied(self, path: Path, digest: str) -> Repair:
        """The repair of a file that should have this digest.

        What is there is set aside. Where another file of the data folder has these bytes, they are
        copied into its place.
        """

        def repair(aside: SetAside) -> str | None:
            verdict = self.stored.verdict(path, digest, again=True)
            if verdict == "matches":
                return "it is whole by now"
            if verdict in NOT_JUDGED:
                return NOT_JUDGED[verdict]
            source = self.stored.another(digest, path)
            done = []
            if verdict == "differs":
                done.append(aside.move(path))
            if source is not None:
                aside.copy(source, path, digest)
                done.append(f"written again from {self.shown(source)}")
            self.stored.forget(path)
            return ", ".join(done) or None

        return Repair(repair, FIRST)


@contextlib.contextmanager
def _alone(path: Path, lock: Path | None) -> Iterator[bool]:
    """Keep others from writing a path in the block; False where one of them may be doing it."""
    if lock is not None:
        with lock_held(lock) as mine:
            yield mine
    elif path.is_dir() and not path.is_symlink():
        with held_alone(path) as mine:
            yield mine
    else:
        yield True


def after_repair(found: Finding) -> Finding:
    """What is left after a repair, with what to do then."""
    left = MEANINGS[found.name].left
    return found.model_copy(update={"advice": left}) if left else found


def finding(name: str, where: str, what: str) -> Finding:
    """The finding of this name, with what it means and what to do."""
    meaning = MEANINGS[name]
    return Finding(
        name=name,
        level=meaning.level,
        where=where,
        what=what,
        means=meaning.means,
        advice=meaning.advice,
    )
