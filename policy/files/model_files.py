"""Which files of a folder are read as a model: in that folder, and none that nobody expects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.files import exists, is_file, read_json_object

# besides the weights, these files decide which tokens come out and which text they are
DEFINING_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# settings by which transformers reads other files than those above
DETOURS = {
    "config.json": ("transformers_weights", "configuration_files"),
    "tokenizer_config.json": ("fast_tokenizer_files",),
}
COPY_AGAIN = "copy the whole folder again"
TEMPLATES = "additional_chat_templates"  # transformers reads every *.jinja in it
MOST_TEMPLATES, MOST_TEMPLATE_BYTES = 100, 2 * 2**20


def defining_files(folder: Path) -> list[Path]:
    """The files that define the policy in a folder, weights included, by name."""
    others = [folder / name for name in DEFINING_FILES if (folder / name).is_file()]
    return sorted([*weight_files(folder), *others])


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers would load.

    Raises InputError when there are none, or where an index names anything but plain files in its
    folder.
    """
    where = str(folder)
    if (single := folder / WEIGHTS).is_file():
        return [single]
    if (folder / INDEX).is_file():
        return _indexed(folder)
    if pickled := [file for pattern in PICKLES for file in folder.glob(pattern)]:
        raise InputError(
            f"the weights are pickled ({pickled[0].name}), and unpickling can run any code",
            where,
            "save the model again with save_pretrained(safe_serialization=True)",
        )
    raise InputError("no weights in this folder", where, f"add its {WEIGHTS}")


def refuse_detours(folder: Path) -> None:
    """InputError where a configuration makes transformers read files that nobody has checked.

    Also where it names a repository: transformers fetches attention kernels from there, and runs
    them, if the package `kernels` is installed.
    """
    for name, value in _implementations(read_json(folder / "config.json")):
        if "/" in value:
            raise InputError(
                f"{name} names code to fetch and run ({value[:60]!r})",
                str(folder / "config.json"),
                "leave it out",
            )
    for name, settings in DETOURS.items():
        if not (folder / name).is_file():
            continue
        content = read_json(folder / name)
        for setting in settings:
            if content.get(setting) is not None:
                raise InputError(
                    f"{setting} names other files to read, which are not checked",
                    str(folder / name),
                    "save the model again with save_pretrained",
                )
    # beside chat_template.jinja, this one would take its place
    if (other := folder / TEMPLATES / "default.jinja").exists():
        raise InputError(
            "is a second default chat template", str(other), "leave one, as chat_template.jinja"
        )
    _refuse_large_templates(folder / TEMPLATES)


def refuse_no_files(folder: Path) -> None:
    """InputError for an entry of a model's folder that is neither a file, a folder, nor a link.

    transformers opens files by their names: it waits for a pipe, and reads a device without end.
    """
    for place in (folder, folder / TEMPLATES):
        for entry in _entries(place):
            is_there = exists(entry)  # a link to nothing is read by nobody
            if is_there and not (is_file(entry) or entry.is_dir()):
                raise InputError(
                    "is no plain file and no folder",
                    str(entry),
                    "move it out of the model's folder",
                )


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(folder)) from None


def _refuse_large_templates(folder: Path) -> None:
    templates = [entry for entry in _entries(folder) if entry.suffix == ".jinja" and is_file(entry)]
    if len(templates) > MOST_TEMPLATES:
        raise InputError(
            f"holds {len(templates):,} chat templates",
            str(folder),
            f"leave {MOST_TEMPLATES} at most",
        )
    for template in templates:
        if template.stat().st_size > MOST_TEMPLATE_BYTES:
            raise InputError(
                f"is larger than {MOST_TEMPLATE_BYTES // 2**20} MB", str(template), "leave it out"
            )


def _implementations(config: Any) -> Iterator[tuple[str, str]]:
    """Each text below a setting whose name ends in `_implementation`, with that name."""
    waiting: list[tuple[str, Any]] = [("", config)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                waiting.append((key if key.endswith("_implementation") else name, inner))
        elif isinstance(value, list):
            waiting += [(name, inner) for inner in value]
        elif isinstance(value, str) and name:
            yield name, value


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError where there is none."""
    try:
        return read_json_object(file)
    except FileNotFoundError:
        raise InputError(
            f"no {file.name} in this folder", str(file.parent), "name a model's folder"
        ) from None


def one_line(error: BaseException) -> str:
    """An error of another library as the part of a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _indexed(folder: Path) -> list[Path]:
    index = folder / INDEX
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise InputError("its weight_map does not map weights to files", str(index), COPY_AGAIN)
    shards = sorted(set(named.values()))
    for name in shards:
        if Path(name).name != name or not _lies_in(folder / name, folder):
            raise InputError(
                f"it names {name!r}, which lies outside this folder",
                str(index),
                "put the weights into the folder itself",
            )
        if not name.endswith(".safetensors"):
            raise InputError(
                f"it names {name!r}, which is no safetensors file", str(index), COPY_AGAIN
            )
    missing = [name for name in shards if not is_file(folder / name)]
    if missing or not shards:
        raise InputError(
            f"weights are missing ({', '.join(missing[:3]) or f'{INDEX} is empty'})",
            str(folder),
            COPY_AGAIN,
        )
    return [folder / name for name in shards]


def _lies_in(file: Path, folder: Path) -> bool:
    """Whether a file, with its links followed, lies in the folder.

    In the hub's cache a snapshot is links: `models--OWNER--NAME/snapshots/REVISION/FILE` leads to
    `models--OWNER--NAME/blobs/DIGEST`.
    """
    home = folder.resolve()
    homes = [home]
    if home.parent.name == "snapshots" and home.parents[1].name.startswith("models--"):
        homes.append(home.parents[1] / "blobs")
    try:
        return file.resolve().parent in homes
    except (
        OSError,
        ValueError,
        RuntimeError,
    ):  # a name that no file can have, or links in a circle
        return False
