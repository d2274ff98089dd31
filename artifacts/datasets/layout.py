"""A dataset repository's layout: its configs, the splits of each, and the files of a split.

It is told by the YAML at the top of the card (`README.md`) or, without one, by the names of the
files, with the rules of the hub: https://huggingface.co/docs/hub/datasets-data-files-configuration.
Nothing in a repository is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import Any

import yaml

from artifacts.datasets.files import READABLE, kind_of
from schemas.errors import InputError

CARD = "README.md"
MOST_CARD_BYTES = 4 * 2**20
ONLY = "default"  # the config of a repository that names none
FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.MULTILINE | re.DOTALL)
SHARDS = re.compile(r"data/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*", re.ASCII)
MAGIC = re.compile(r"[*?[]")
# what names a split; the words of the hub, in its order
WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
# files that say something of the dataset, and hold no rows
ABOUT = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "config.json"}
Splits = Mapping[str, tuple[str, ...]]  # a split's name to its files


@dataclass(frozen=True)
class Layout:
    """The configs of a repository by name, and which of them is meant where none is named."""

    configs: Mapping[str, Splits]
    default: str | None

    def splits(self, config: str | None, name: str) -> Splits:
        """The splits of a config; InputError where it is not there, or has to be named."""
        listed = ", ".join(self.configs)
        if config is None and self.default is None:
            example = next(iter(self.configs))
            raise InputError(
                f"has {len(self.configs)} configs, and none is named",
                f"--dataset {name}",
                f"name one of {listed}, as {name}:{example}",
            )
        chosen = str(self.default if config is None else config)
        if chosen not in self.configs:
            raise InputError(f"has no config {chosen!r}", f"--dataset {name}", f"it has {listed}")
        return self.configs[chosen]


def layout_of(card: str, paths: Iterable[str], name: str) -> Layout:
    """The layout of a repository from the text of its card and the paths of its files.

    Raises InputError for a card that cannot be read, and where no file can be read as rows.
    """
    there = sorted(path for path in paths if not _is_hidden(path) and _name(path) not in ABOUT)
    _refuse_unreadable(there, name)
    found = _front_matter(card, name).get("configs")
    if not found:
        return Layout({ONLY: _by_names(there)}, ONLY)
    configs, default = {}, None
    for config in found if isinstance(found, list) else [found]:
        if not isinstance(config, dict) or not isinstance(config.get("config_name"), str):
            raise _bad_card(name, "a config has no config_name")
        title = config["config_name"]
        configs[title] = _splits_of(config, there, name)
        if config.get("default") is True or title == ONLY:
            default = title
    return Layout(configs, next(iter(configs)) if len(configs) == 1 else default)


def _refuse_unreadable(paths: Sequence[str], name: str) -> None:
    if any(kind_of(path) for path in paths):
        return
    where = f"--dataset {name}"
    if scripts := [path for path in paths if path.endswith(".py")]:
        raise InputError(
            f"is made by code ({scripts[0]}), which is never run",
            where,
            "name a dataset that has files",
        )
    shown = ", ".join(paths[:4]) + (" and more" if len(paths) > 4 else "")
    raise InputError(f"has no file of rows; it has {shown or 'no files'}", where, f"use {READABLE}")


def _front_matter(card: str, name: str) -> dict[str, Any]:
    """The YAML at the top of a card as plain values; empty where there is none."""
    if (match := FRONT_MATTER.match(card)) is None:
        return {}
    try:
        found = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 2})" if mark else ""
        raise _bad_card(name, f"its YAML cannot be read{place}") from None
    return found if isinstance(found, dict) else {}


def _splits_of(config: Mapping[str, Any], paths: Sequence[str], name: str) -> Splits:
    """The splits of one config: those that its card lists, or else by the names of files."""
    folder = config.get("data_dir")
    before = f"{folder.strip('/')}/" if isinstance(folder, str) and folder.strip("/.") else ""
    listed = config.get("data_files")
    if listed is None:
        return _by_names([path for path in paths if path.startswith(before)], before)
    if isinstance(listed, str) or (
        isinstance(listed, list) and all(isinstance(one, str) for one in listed)
    ):
        listed = [{"split": "train", "path": listed}]
    splits: dict[str, tuple[str, ...]] = {}
    for entry in listed if isinstance(listed, list) else [listed]:
        split = entry.get("split") if isinstance(entry, dict) else None
        patterns = entry.get("path") if isinstance(entry, dict) else None
        patterns = [patterns] if isinstance(patterns, str) else patterns
        if not isinstance(split, str) or not isinstance(patterns, list):
            raise _bad_card(name, f"data_files of {config['config_name']} are no splits and paths")
        if split in splits:
            raise _bad_card(name, f"{config['config_name']} has the split {split} twice")
        splits[split] = _matching([before + str(one) for one in patterns], paths)
    return splits


def _matching(patterns: Sequence[str], paths: Sequence[str]) -> tuple[str, ...]:
    """The paths that match any pattern; `*` stays within a folder, `**` does not."""
    wanted = [re.compile(_expression(pattern.removeprefix("./"))) for pattern in patterns]
    return tuple(path for path in paths if any(one.fullmatch(path) for one in wanted))


def _expression(pattern: str) -> str:
    if not MAGIC.search(pattern):
        return re.escape(pattern)
    parts = pattern.split("/")
    made = []
    for part in parts[:-1]:
        made.append("(?:[^/]+/)*" if part == "**" else f"{_within(part)}/")
    return "".join(made) + (".*" if parts[-1] == "**" else _within(parts[-1]))


def _within(part: str) -> str:
    """A pattern of one name as an expression: what it stands for holds no `/`."""
    return translate(part).removesuffix(r"\Z").removesuffix(r"\z").replace(".*", "[^/]*")


def _by_names(paths: Sequence[str], before: str = "") -> Splits:
    """Splits by the names of files, then of their folders; all is `train` where none says one."""
    readable = [path for path in paths if kind_of(path)]
    for split_of in (_by_shard, _by_file, _by_folder):
        found: dict[str, list[str]] = {}
        for path in readable:
            if (split := split_of(path.removeprefix(before))) is not None:
                found.setdefault(split, []).append(path)
        if found:
            order = [name for name in WORDS if name in found]
            order += [name for name in found if name not in WORDS]
            return {name: tuple(found[name]) for name in order}
    return {"train": tuple(readable)} if readable else {}


def _by_shard(path: str) -> str | None:
    match = SHARDS.fullmatch(path)
    return match[1] if match else None


def _by_file(path: str) -> str | None:
    return _named(_name(path))


def _by_folder(path: str) -> str | None:
    return next((split for one in path.split("/")[:-1] if (split := _named(one))), None)


def _named(text: str) -> str | None:
    """The split that a name holds as a word; words end at `-`, `.`, `_`, a space or a digit."""
    words = set(re.split(r"[-._ 0-9]+", text))
    return next((split for split, names in WORDS.items() if words & set(names)), None)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _is_hidden(path: str) -> bool:
    return any(part.startswith((".", "__")) for part in path.split("/"))


def _bad_card(name: str, what: str) -> InputError:
    return InputError(f"{CARD}: {what}", f"--dataset {name}", "its owner can correct the card")
