"""The JavaScript table library that a report carries: DataTables, from the package `itables`.

The bundle becomes one classic script; no part of that package is imported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import distribution
from pathlib import Path

PACKAGE = "itables"
BUNDLE = "itables/html/dt_bundle.js"
GLOBAL = "threeloopsTables"  # the page finds jQuery, and DataTables with it, under this name


@dataclass(frozen=True)
class TableLibrary:
    """A script that sets `window.threeloopsTables`, the version of its package, and the licence."""

    script: str
    version: str
    licence: str


@lru_cache(maxsize=1)
def table_library() -> TableLibrary:
    """The library as a script that needs no module loader, and so no address to load from.

    Raises RuntimeError where the bundle does not end in the one list of exports that is expected.
    """
    package = distribution(PACKAGE)
    bundle = Path(str(package.locate_file(BUNDLE))).read_text(encoding="utf-8")
    exports = re.findall(r"\bexport ?\{([^{}]*)\}", bundle)
    jquery = re.search(r"([\w$]+) as jQuery\b", exports[0]) if len(exports) == 1 else None
    if jquery is None:
        raise RuntimeError(f"{BUNDLE} of {PACKAGE} {package.version} exports no jQuery")
    body = re.sub(r"\bexport ?\{[^{}]*\}", f"window.{GLOBAL}={jquery[1]}", bundle)
    licences = [str(file) for file in package.files or () if file.name == "LICENSE"]
    licence = package.read_text("licenses/LICENSE") if licences else None
    return TableLibrary(
        script=f'(()=>{{"use strict";{body}\n}})();', version=package.version, licence=licence or ""
    )
