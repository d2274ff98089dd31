"""Scorers by name: `final_int@1`, its bare name, `package.module:attribute`, or an entry point."""

from __future__ import annotations

import contextlib
import importlib
import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path

from schemas.errors import InputError
from scorers.contains_int import CONTAINS_INT_1
from scorers.final_int import FINAL_INT_1
from scorers.final_line_int import FINAL_LINE_INT_1
from scorers.last_int import LAST_INT_1
from scorers.math_verify import MATH_VERIFY_1
from scorers.scorer import Scorer

ENTRY_POINT_GROUP = "threeloops.scorers"
BUILT_IN = (FINAL_INT_1, FINAL_LINE_INT_1, CONTAINS_INT_1, LAST_INT_1, MATH_VERIFY_1)


def get_scorer(name: str) -> Scorer:
    """The scorer of a name.

    - `final_int@1`: one of ours, or one that an installed package offers as an entry point of the
      group `threeloops.scorers`; the entry point is named like the scorer, version or not.
    - `final_int`: the newest version of that name.
    - `package.module:attribute`: a `Scorer` in a module of the user's, for example one made by
      `scorers.custom.custom_scorer`.

    Raises InputError for a name that does not exist, listing those that do, for a module or
    attribute that cannot be loaded, and for a scorer that has the name and version of ours.
    """
    if ":" in name:
        _find_modules_here()
        return _loaded(EntryPoint(name=name, value=name, group=ENTRY_POINT_GROUP))
    found = _found(name)
    if not found:
        _announced_on.cache_clear()  # a package may have been installed since
        found = _found(name)
    if not found or name.endswith("@"):
        known = [scorer.id for scorer in BUILT_IN]
        known += [point.name for point in _announced()]
        raise InputError(
            f"there is no scorer {name!r}",
            remedy=f"there are {', '.join(known)}; your own is package.module:attribute",
        )
    return max(found, key=lambda scorer: scorer.version)


def _find_modules_here() -> None:
    """Let `mymodule:scorer` name a module in the working directory, which is looked in last.

    Nothing is found there before somebody names such a scorer: other people's files, such as those
    of a dataset or a model, must not become modules of the libraries that we import.
    """
    with contextlib.suppress(OSError):  # it was deleted
        if not {"", here := str(Path.cwd())} & set(sys.path):
            sys.path.append(here)
            importlib.invalidate_caches()


def _found(name: str) -> list[Scorer]:
    bare, _, version = name.partition("@")
    offered = [
        _loaded(point)
        for point in _announced()
        if point.name in (name, bare) or point.name.partition("@")[0] == bare
    ]
    return [
        scorer
        for scorer in (*BUILT_IN, *offered)
        if scorer.name == bare and version in ("", str(scorer.version))
    ]


def _announced() -> EntryPoints:
    """The scorers that installed packages offer, not yet loaded."""
    return _announced_on(tuple(sys.path))


@lru_cache(maxsize=1)
def _announced_on(paths: tuple[str, ...]) -> EntryPoints:
    """Cached, because asking every installed package takes about 20 ms and every step scores."""
    return entry_points(group=ENTRY_POINT_GROUP)


def _loaded(point: EntryPoint) -> Scorer:
    """The scorer that `point.value`, package.module:attribute, stands for."""
    module, _, attribute = point.value.partition(":")
    where = f"scorer {point.value}"
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except ModuleNotFoundError as error:
        raise InputError(
            f"there is no module {error.name!r}", where, "set PYTHONPATH to the folder that has it"
        ) from error
    except AttributeError as error:
        raise InputError(" ".join(str(error).split()), where) from error
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        what = " ".join(f"its import raised {type(error).__name__}: {error}".split())
        raise InputError(what, where) from error
    if not isinstance(found, Scorer):
        raise InputError(
            "it is not a Scorer, so it has no name, version or spec",
            where,
            "decorate the function with scorers.custom.custom_scorer(name=, version=, spec=)",
        )
    if any(found.id == ours.id and found is not ours for ours in BUILT_IN):
        raise InputError(f"it calls itself {found.id}, which is ours", where, "rename it")
    return found
