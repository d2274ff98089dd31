"""A run's checkpoints in a shared store: sent when they are written, fetched to go on from them.

Their names are those of the files below the run's folder. A checkpoint's record is sent last and
deleted first, as on disk: what has none is not a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from artifacts.store.shared.objects import Objects
from policy.files.atomic_folder import atomic_folder

RECORD = "checkpoint.json"


class SharedCheckpoints:
    """The checkpoints of one run; `of_run` is its folder here, whose name is the run's id."""

    def __init__(self, objects: Objects, of_run: Path) -> None:
        self._objects = objects
        self._of_run = of_run

    def folders(self) -> list[Path]:
        """Where those that are whole in the store lie here, or will; the newest last."""
        return sorted({self._of_run / step for step, name in self._names() if name == RECORD})

    def send(
        self, folder: Path, *, keep: int, still_ours: Callable[[], object] = lambda: None
    ) -> None:
        """Send a checkpoint, then delete all but the newest `keep` up to it, and later ones.

        `still_ours` is asked before anything is deleted and before each file, and raises where
        another machine has the run by now: large files take long, and what that one has sent stays.
        """
        self.add(folder, still_ours)
        still_ours()
        self.keep_only([one for one in self.folders() if one <= folder][-keep:])

    def add(self, folder: Path, still_ours: Callable[[], object] = lambda: None) -> None:
        """Send a checkpoint in place of what is there of it, its record last."""
        still_ours()
        self.drop(folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        record = folder / RECORD
        for path in (*(path for path in files if path != record), record):
            still_ours()
            self._objects.put(self._name(path), path)

    def is_here(self, folder: Path) -> bool:
        """Whether a checkpoint's record here is the one in the store: another machine may have
        gone on from an earlier step, and written this one anew.
        """
        found = self._objects.get(self._name(folder / RECORD))
        record = folder / RECORD
        return found is not None and record.is_file() and record.read_bytes() == found.content

    def fetch(self, folder: Path) -> bool:
        """Fetch a checkpoint in place of what is here; False where the store does not have it.

        Its files are not judged: `read_checkpoint` compares them with their digests.
        """
        names = [name for step, name in self._names() if step == folder.name]
        if RECORD not in names:
            return False
        with atomic_folder(folder) as partial:
            for name in names:
                path = partial / name
                path.parent.mkdir(parents=True, exist_ok=True)
                self._objects.fetch(self._name(folder / name), path)
        return True

    def drop(self, folder: Path) -> None:
        """Delete a checkpoint from the store, if it is there."""
        self._drop({folder.name})

    def keep_only(self, kept: Iterable[Path]) -> None:
        """Delete every checkpoint from the store but these, and what was sent in part."""
        names = {folder.name for folder in kept}
        self._drop({step for step, _ in self._names() if step not in names})

    def _drop(self, steps: set[str]) -> None:
        found = [(step, name) for step, name in self._names() if step in steps]
        for step, name in sorted(found, key=lambda one: one[1] != RECORD):
            self._objects.delete(self._name(self._of_run / step / name))

    def _names(self) -> list[tuple[str, str]]:
        """Each file in the store: the folder of its step, and its path in there."""
        prefix = f"checkpoints/{self._of_run.name}"
        parts = (
            name.removeprefix(prefix + "/").partition("/") for name in self._objects.list(prefix)
        )
        return [
            (step, name)
            for step, _, name in parts
            # none that leads out of the folder, as an absolute path would too
            if step.startswith("step-") and not {"", ".."} & set(name.split("/"))
        ]

    def _name(self, path: Path) -> str:
        return f"checkpoints/{self._of_run.name}/{path.relative_to(self._of_run).as_posix()}"
