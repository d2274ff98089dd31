"""The machine: Python and packages against what is pinned, and free space."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from artifacts.doctor.examination import Found, finding

PINNED = re.compile(r"([\w.-]+)==([^\s;]+)$")  # what is needed without an extra
LITTLE_SPACE = 2 * 2**30  # bytes; a run with the default model takes some hundred megabytes
SHOWN = 8


def check_versions_of_packages() -> Iterator[Found]:
    """Whether what is installed is what was pinned."""
    wanted = metadata("threeloops")["Requires-Python"] or ""
    here = tuple(int(part) for part in platform.python_version_tuple()[:2])
    if not all(_allows(bound, here) for bound in wanted.split(",") if bound):
        what = f"this is Python {platform.python_version()}, and {wanted} is wanted"
        yield Found(finding("python-version", "Python", what))
    others, missing = [], []
    for line in requires("threeloops") or ():
        if pinned := PINNED.match(line):
            try:
                # a build for another processor has a name behind the `+`
                if (found := version(pinned[1]).partition("+")[0]) != pinned[2]:
                    others.append(f"{pinned[1]} is {found}, not {pinned[2]}")
            except PackageNotFoundError:
                missing.append(pinned[1])
    if others:
        yield Found(finding("other-package", "packages", listed(others)))
    if missing:
        yield Found(finding("missing-package", "packages", f"not installed: {listed(missing)}"))


def check_place(root: Path) -> Iterator[Found]:
    """Whether a data folder is there, or could be made: nothing else stands in its way."""
    for path in (root, *root.parents):
        if path.is_dir():
            return
        if path.is_symlink() or path.exists():
            what = "it leads to nothing" if path.is_symlink() else "it is no folder"
            yield Found(finding("no-folder", str(path), what))
            return


def check_space(root: Path) -> Iterator[Found]:
    """Whether there is room for further runs where the data folder is or will be."""
    place = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < LITTLE_SPACE:
        yield Found(finding("little-space", str(place), f"{free / 2**20:.0f} MiB are free"))


def _allows(bound: str, here: tuple[int, ...]) -> bool:
    match = re.fullmatch(r"\s*(>=|<)\s*(\d+)\.(\d+)\s*", bound)
    if match is None:
        return True
    limit = (int(match[2]), int(match[3]))
    return here >= limit if match[1] == ">=" else here < limit


def listed(names: Sequence[str], most: int = SHOWN) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" * (len(names) > most)
    return ", ".join(names[:most]) + more
