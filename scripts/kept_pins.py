"""The pins of earlier locks that still bind: all but those that pyproject.toml sets itself.

    kept_pins.py LOCK [LOCK ...]

Where two locks pin a package, the first counts. A lock that is not there pins nothing.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def kept(locks: list[Path], pyproject: str) -> list[str]:
    """The lines of the locks to keep, one a package."""
    project = tomllib.loads(pyproject)["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    ours = {package(text) for group in groups for text in group}
    lines: dict[str, str] = {}
    for lock in locks:
        for line in lock.read_text().splitlines() if lock.exists() else []:
            if not line.startswith("#") and package(line) not in ours:
                lines.setdefault(package(line), line)
    return list(lines.values())


def package(requirement: str) -> str:
    """The name of the package that a requirement asks for, in its one spelling."""
    name = re.split(r"[^\w.-]", requirement.strip())[0]
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    print(
        "\n".join(kept([Path(name) for name in sys.argv[1:]], Path("pyproject.toml").read_text()))
    )
