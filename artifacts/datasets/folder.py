"""A folder in the layout of a dataset repository, as a clone of one: its files by split."""

from __future__ import annotations

from pathlib import Path

from artifacts.datasets.layout import CARD, MOST_CARD_BYTES, Splits, layout_of
from schemas.errors import InputError
from schemas.files import is_file, of_user

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
MOST_FILES = 10_000
State = tuple[tuple[str, int, int], ...]


def folder_named(dataset: str) -> tuple[Path, str | None] | None:
    """The folder and config of `FOLDER` or `FOLDER:CONFIG`, None where there is no such folder."""
    folder, colon, config = dataset.rpartition(":")
    for path, chosen in ((dataset, None), (folder if colon else "", config)):
        try:
            if path and of_user(path).is_dir():
                return of_user(path).absolute(), chosen
        except (OSError, ValueError):
            continue
    return None


def folder_splits(folder: Path, config: str | None) -> tuple[Splits, State]:
    """The splits of a folder with the paths of their files, and the state of those files.

    The state is equal as long as no file was changed.
    """
    paths = _files(folder)
    if "config.json" in paths and any(map(_is_of_a_model, paths)):
        raise InputError(
            "holds a model, not a dataset", f"--dataset {folder}", "name it with --model"
        )
    card = ""
    if CARD in paths:
        with (folder / CARD).open("rb") as file:
            card = file.read(MOST_CARD_BYTES).decode("utf-8", "replace")
    found = layout_of(card, paths, str(folder)).splits(config, str(folder))
    used = sorted({path for files in found.values() for path in files})
    return found, tuple((path, *_state(folder / path)) for path in used)


def _is_of_a_model(path: str) -> bool:
    return path in TOKENIZER or ("/" not in path and path.endswith(".safetensors"))


def _files(folder: Path) -> list[str]:
    found: list[str] = []
    for path in folder.rglob("*"):
        if is_file(path):
            found.append(path.relative_to(folder).as_posix())
        if len(found) > MOST_FILES:
            raise InputError(
                f"has more than {MOST_FILES} files", str(folder), "name a folder with a dataset"
            )
    return found


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
