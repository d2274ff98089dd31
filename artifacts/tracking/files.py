"""The files of a run: in the data folder, or wherever an MLflow elsewhere keeps them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Protocol

from artifacts.store.atomic_file import write_atomic
from artifacts.tracking.connection import Tracking
from artifacts.tracking.experiment import local_path
from artifacts.tracking.sqlite_runs import FoundRun
from artifacts.unsent.answers import UnreachableError
from artifacts.unsent.refusals import in_one_line


class RunFiles(Protocol):
    """The files of one run, by names such as `tables/scores.parquet`."""

    def write(self, name: str, content: bytes) -> None:
        """Keep a file, in place of one of its name."""

    def keep(self, name: str, path: Path) -> None:
        """Keep the content of a large file that is stored elsewhere too."""

    def path(self, name: str = "") -> Path:
        """Where a file lies on this machine, or its copy is once it was written or read here."""

    def local(self, name: str) -> Path | None:
        """A file with its present content; None where the run has none of this name."""

    def read(self, name: str) -> bytes:
        """The content of a file; FileNotFoundError where the run has none of this name."""


@dataclass(frozen=True)
class LocalFiles:
    """Files in a folder: each is there whole or as it was before, also after a kill.

    A file is begun in `begin_in`, where what a killed process left is looked for.
    """

    folder: Path
    begin_in: Path | None = None

    def write(self, name: str, content: bytes) -> None:
        write_atomic(self.folder / name, content, begin_in=self.begin_in)

    def keep(self, name: str, path: Path) -> None:
        self.write(name, path.read_bytes())

    def path(self, name: str = "") -> Path:
        return self.folder / name

    def local(self, name: str) -> Path | None:
        return path if (path := self.folder / name).exists() else None

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


@dataclass(frozen=True)
class ServedFiles:
    """Files that MLflow keeps, given and taken through its client.

    What is written or read has a copy in the data folder, for people and pictures; it is never
    taken for the file itself while MLflow answers.
    """

    tracking: Tracking
    run_id: str

    def write(self, name: str, content: bytes) -> None:
        write_atomic(self.path(name), content, begin_in=self.tracking.data_dir.mlflow_cache)
        self._give(name, self.path(name))

    def keep(self, name: str, path: Path) -> None:
        with TemporaryDirectory() as folder:
            link = Path(folder) / PurePosixPath(name).name
            link.symlink_to(path.absolute())
            self._give(name, link)

    def path(self, name: str = "") -> Path:
        return self.tracking.data_dir.mlflow_cache / "runs" / self.run_id / name

    def local(self, name: str) -> Path | None:
        try:
            with in_one_line(self._where(name), "MLflow does not give it"):
                return self._fetched(name)
        except UnreachableError:
            if self.tracking.away and self.path(name).exists():
                return self.path(name)  # this process goes on without the server, by what it wrote
            raise

    def read(self, name: str) -> bytes:
        if (path := self.local(name)) is None:
            raise FileNotFoundError(name)
        return path.read_bytes()

    def _give(self, name: str, path: Path) -> None:
        folder = str(PurePosixPath(name).parent)
        with in_one_line(self._where(name), "MLflow does not keep it"):
            self.tracking.client.log_artifact(
                self.run_id, str(path), None if folder == "." else folder
            )

    def _fetched(self, name: str) -> Path | None:
        client, folder = self.tracking.client, str(PurePosixPath(name).parent)
        listed = client.list_artifacts(self.run_id, None if folder == "." else folder)
        if name not in {one.path for one in listed if not one.is_dir}:
            return None
        with TemporaryDirectory(dir=self._cache()) as place:
            got = Path(client.download_artifacts(self.run_id, name, place))
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(got, self.path(name))
        return self.path(name)

    def _cache(self) -> Path:
        cache = self.tracking.data_dir.mlflow_cache
        cache.mkdir(parents=True, exist_ok=True)
        return cache

    def _where(self, name: str) -> str:
        return f"{name} of run {self.run_id[:6]}"


def files_of(tracking: Tracking, run: FoundRun) -> RunFiles:
    """The files of a run as MLflow tells of it."""
    uri = str(run.info.artifact_uri)
    if tracking.holds(uri):
        return LocalFiles(local_path(uri), tracking.data_dir.run_artifacts)
    return ServedFiles(tracking, str(run.info.run_id))
