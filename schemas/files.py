"""Files that a person names: whether one is there, and which kind it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Source = Literal["jsonl", "parquet", "run"]


def ending(name: str | Path) -> str:
    """The ending of a file's name in lower case, as `.jsonl` of `A.JSONL`."""
    return Path(name).suffix.lower()


def is_file(path: Path) -> bool:
    """Whether a file is there; a name that no file can have, as one too long, names none."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def source_of(name: str) -> Source:
    """What `--completions` names: one of our tables, a file of JSON lines, or else a run.

    A file that is there is one whatever its ending; an ending alone tells files that are missing.
    """
    if ending(name) == ".parquet":
        return "parquet"
    return "jsonl" if ending(name) == ".jsonl" or is_file(Path(name)) else "run"
