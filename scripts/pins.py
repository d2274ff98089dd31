"""The lines of a lock: every package that threeloops needs on any Python that it supports.

It runs in the environment where the packages were installed. What each Python needs is read from
their metadata, since one installer resolves for its own Python alone.
"""

from __future__ import annotations

import argparse
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = "threeloops"
BUILD = "setuptools"  # builds and installs the project itself


def supported() -> list[str]:
    """The Pythons of `requires-python`, the oldest first."""
    allowed = SpecifierSet(str(distribution(ROOT).metadata["Requires-Python"]))
    return [python for minor in range(100) if allowed.contains(python := f"3.{minor}")]


def needed(extra: str, python: str) -> dict[str, Requirement]:
    """What `threeloops[extra]` needs on one Python, by name; all of it, however far away.

    A few packages are needed by early patch versions only; they count for all.
    """
    found: dict[str, Requirement] = {}
    done: set[tuple[str, str]] = set()
    waiting = [Requirement(f"{ROOT}[{extra}]"), Requirement(BUILD)]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        found.setdefault(name, wanted)
        for part in {"", *wanted.extras}:
            if (name, part) not in done:
                done.add((name, part))
                waiting += [one for one in _requirements(name) if _applies(one, python, part)]
    return found


def _requirements(name: str) -> list[Requirement]:
    package = _installed(name)
    return [Requirement(text) for text in package.requires or []] if package else []


def _applies(requirement: Requirement, python: str, extra: str) -> bool:
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate(_environment(python, patch, extra)) for patch in (0, 99)
    )


def _environment(python: str, patch: int, extra: str) -> dict[str, str]:
    here = {name: str(value) for name, value in default_environment().items()}
    full = f"{python}.{patch}"
    return here | {"python_version": python, "python_full_version": full, "extra": extra}


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def missing(extra: str) -> list[str]:
    """What some other Python needs and this environment lacks, as requirements to install."""
    return sorted(
        {
            f"{wanted.name}{wanted.specifier}"
            for python in supported()
            for name, wanted in needed(extra, python).items()
            if not _installed(name)
        }
    )


def lock_lines(extra: str) -> list[str]:
    """One pin a package, with a marker where only some of the Pythons need it."""
    pythons = supported()
    users: dict[str, list[int]] = {}
    for place, python in enumerate(pythons):
        for name in needed(extra, python):
            users.setdefault(name, []).append(place)
    users.pop(ROOT)
    lines = []
    for name, places in sorted(users.items()):
        package = distribution(name)
        version = package.version.partition("+")[0]  # a local build such as 2.13.0+cpu
        lines.append(f"{package.metadata['Name']}=={version}{_marker(pythons, places)}")
    return lines


def _marker(pythons: list[str], places: list[int]) -> str:
    first, last = places[0], places[-1]
    if len(places) <= last - first:
        raise SystemExit(f"needed on {[pythons[place] for place in places]}: no range of Pythons")
    bounds = [f'python_version >= "{pythons[first]}"'] if first else []
    if last + 1 < len(pythons):
        bounds.append(f'python_version < "{pythons[last + 1]}"')
    return f" ; {' and '.join(bounds)}" if bounds else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["missing", "lock"])
    parser.add_argument("extra", help="an extra of threeloops")
    given = parser.parse_args()
    lines = missing(given.extra) if given.what == "missing" else lock_lines(given.extra)
    print("".join(f"{line}\n" for line in lines), end="")


if __name__ == "__main__":
    main()
