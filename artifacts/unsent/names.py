"""The server's names in place of ours: in later records, in names of folders and in texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from artifacts.store.atomic_file import write_atomic
from artifacts.store.checkpoints import rename_checkpoints
from artifacts.store.data_dir import DataDir
from artifacts.store.policy_folders import PolicyFolders
from artifacts.store.shared.objects import Objects
from artifacts.unsent.journal import Kept

TEXTS = {".json", ".html", ".md", ".txt", ".yaml", ""}  # files in which our ids are replaced


def take_name(
    data_dir: DataDir, call: str, ours: str, made: Any, shared: Objects | None = None
) -> str:
    """The server's name for what we named ourselves; what is stored under ours is renamed.

    That is folders of the data folder, and a run's checkpoints in a shared store too. Whoever is
    stopped on the way does it again. InputError where the store does not answer.
    """
    if call == "register version":
        return str(made.version)
    artifacts, cache = data_dir.run_artifacts, data_dir.mlflow_cache
    if call == "create model":
        theirs = str(made.model_id)
        above = [artifacts / "models", cache / "models"]
    else:
        theirs = str(made.info.run_id)
        above = [artifacts, cache / "runs"]
        rename_checkpoints(data_dir, ours, theirs, shared)
    for folder in above:
        _rename(folder / ours, folder / theirs)
    return theirs


def _rename(before: Path, now: Path) -> None:
    if before.is_dir() and not now.exists():
        before.rename(now)


def rename_in_texts(data_dir: DataDir, kept: Kept, names: Mapping[str, str]) -> None:
    if not names:
        return
    runs = {renamed(str(record.get("run")), names) for record in kept.records}
    cache = data_dir.mlflow_cache
    folders = [
        above / name
        for above in (data_dir.run_artifacts, cache / "runs")
        for name in {*runs, *names.values()}
    ]
    models = [data_dir.run_artifacts / "models" / name / "artifacts" for name in names.values()]
    models += [cache / "models" / name for name in names.values()]
    for folder in [*folders, *models]:
        for path in folder.rglob("*"):
            if path.suffix in TEXTS and path.is_file():
                _rename_in_text(path, names)
    remembered = PolicyFolders(data_dir)
    for model in models:
        if (model / "config.json").exists():
            remembered.digest(model)  # it is found by its digest again


def _rename_in_text(path: Path, names: Mapping[str, str]) -> None:
    before = _decoded(path.read_bytes())
    if before is None:
        return
    if (now := renamed(before, names)) != before:
        write_atomic(path, now.encode())


@contextmanager
def with_file(data_dir: DataDir, words: dict[str, Any], names: Mapping[str, str]) -> Iterator[None]:
    """Let a call have the copy of its file that was kept, with the server's names in a text.

    FileNotFoundError where the copy is missing. A call without a file has none.
    """
    if "file" not in words:
        yield
        return
    kept = data_dir.root / words["file"]
    words["file"] = str(kept)
    content = kept.read_bytes() if Path(words["name"]).suffix in TEXTS else None
    if content is None and not kept.is_file():
        raise FileNotFoundError(words["file"])
    with TemporaryDirectory() as folder:
        if content is not None and (text := _decoded(content)) is not None:
            (changed := Path(folder) / "text").write_bytes(renamed(text, names).encode())
            words["file"] = str(changed)
        yield


def _decoded(content: bytes) -> str | None:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def renamed(text: str, names: Mapping[str, str]) -> str:
    for ours, theirs in names.items():
        text = text.replace(ours, theirs)
    return text
