"""A folder in which inputs are read, and a look at what a reader left behind."""

from __future__ import annotations

import shutil
from pathlib import Path

from artifacts.datasets.problems import Datasets
from artifacts.store.data_dir import DataDir
from artifacts.store.tables import Store
from artifacts.tracking.archive import Archive
from schemas.identity import file_digest
from schemas.references import TableRef

PROBLEMS = (
    '{"id": "a", "prompt": "1 + 1?", "expected_answer": 2, "split": "holdout"}\n'
    '{"id": "b", "prompt": "2 + 2?", "expected_answer": 4, "split": "holdout"}\n'
)


class Room:
    """A data folder and a folder of inputs, the same for every input of a reader.

    `tiny` is the folder of a model and `database` an empty one of MLflow, for readers that need
    them: making one takes seconds.
    """

    def __init__(self, root: Path, tiny: Path | None = None, database: Path | None = None) -> None:
        self.inputs = root / "inputs"
        self.inputs.mkdir(parents=True)
        (root / "home").mkdir()
        self.data_dir = DataDir(root / "home")
        self.tiny = tiny
        if database is not None:
            shutil.copy(database, self.data_dir.tracking_database)
        self.dataset = root / "problems.jsonl"
        self.dataset.write_text(PROBLEMS)
        self.datasets = Datasets()
        self.store = Store(self.data_dir)
        self.problems: TableRef = self.store.write(
            "problems", self.datasets.load(str(self.dataset), "holdout"), producer="fuzz"
        )
        self.kept = self._files()
        self._archive: Archive | None = None

    @property
    def archive(self) -> Archive:
        """The whole data folder, with MLflow's database."""
        if self._archive is None:
            self._archive = Archive(self.data_dir)
            self._archive.tracking.client.search_experiments()
            self.kept = self._files()
        return self._archive

    def file(self, name: str, content: bytes) -> Path:
        """A file of inputs."""
        path = self.inputs / name
        path.write_bytes(content)
        return path

    def folder(self, name: str) -> Path:
        """An empty folder of inputs."""
        path = self.inputs / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def check_nothing_half_written(self) -> None:
        """AssertionError for a new file in the data folder that is no whole table; else tidy up."""
        for path in self._files() - self.kept:
            whole = path.suffix == ".parquet" and file_digest(path) == path.stem
            assert whole, f"left behind: {path}"
            path.unlink()

    def _files(self) -> set[Path]:
        found = (path for path in self.data_dir.root.rglob("*") if path.is_file())
        return {path for path in found if not path.name.startswith("mlflow.db")}
