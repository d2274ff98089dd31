"""The data folder: where every byte that threeloops keeps is found."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import InputError


@dataclass(frozen=True)
class DataDir:
    """One folder holding tables, runs, models, checkpoints and Prefect's own state."""

    root: Path

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def run_artifacts(self) -> Path:
        return self.root / "mlartifacts"


def current_data_dir() -> DataDir:
    """`THREELOOPS_HOME`, or `.threeloops` in the working directory; made when missing.

    Raises InputError when it cannot be made or written.
    """
    root = Path(os.environ.get("THREELOOPS_HOME") or ".threeloops").expanduser().absolute()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the data folder cannot be made ({error.strerror})",
            str(root),
            "set THREELOOPS_HOME to a folder that you can write to",
        ) from None
    if not os.access(root, os.W_OK | os.X_OK):
        raise InputError(
            "the data folder cannot be written",
            str(root),
            "set THREELOOPS_HOME to a folder that you can write to",
        )
    return DataDir(root)
