"""The server's names in place of ours: in later records, in names of folders and in texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifacts.store.atomic_file import write_atomic
from artifacts.store.data_dir import DataDir
from artifacts.store.policy_folders import PolicyFolders
from artifacts.unsent.journal import Kept

TEXTS = {".json", ".html", ".md", ".txt", ".yaml", ""}  # files in which our ids are replaced


def take_name(data_dir: DataDir, call: str, ours: str, made: Any) -> str:
    """The server's name for what we named ourselves; folders of that name are renamed."""
    if call == "register version":
        return str(made.version)
    artifacts = data_dir.run_artifacts
    if call == "create model":
        theirs = str(made.model_id)
        _rename(artifacts / "models" / ours, artifacts / "models" / theirs)
        return theirs
    theirs = str(made.info.run_id)
    _rename(artifacts / ours, artifacts / theirs)
    _rename(data_dir.checkpoints / ours, data_dir.checkpoints / theirs)
    return theirs


def _rename(before: Path, now: Path) -> None:
    if before.is_dir() and not now.exists():
        before.rename(now)


def rename_in_texts(data_dir: DataDir, kept: Kept, names: Mapping[str, str]) -> None:
    if not names:
        return
    runs = {renamed(str(record.get("run")), names) for record in kept.records}
    folders = [data_dir.run_artifacts / name for name in {*runs, *names.values()}]
    models = [data_dir.run_artifacts / "models" / name for name in names.values()]
    for folder in [*folders, *models]:
        for path in folder.rglob("*"):
            if path.suffix in TEXTS and path.is_file():
                _rename_in_text(path, names)
    remembered = PolicyFolders(data_dir)
    for model in models:
        if (model / "artifacts" / "config.json").exists():
            remembered.digest(model / "artifacts")  # it is found by its digest again


def _rename_in_text(path: Path, names: Mapping[str, str]) -> None:
    try:
        before = path.read_bytes().decode()
    except UnicodeDecodeError:
        return
    if (now := renamed(before, names)) != before:
        write_atomic(path, now.encode())


def renamed(text: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        text = text.replace(ours, theirs)
    return text
