"""Python's search for garbage while a command starts: it finds none, and takes a fifth of the time.

Importing makes hundreds of thousands of objects that stay. Python looks through those that are
there after every 700 new ones, and through all of them again and again.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

SELDOM = (100_000, 20, 100)  # new objects before a search, and searches before a longer one

_as_usual: list[tuple[int, int, int]] = []


@contextlib.contextmanager
def seldom_searched() -> Iterator[None]:
    """Search seldom in the block, until `search_as_usual` is called in it."""
    _as_usual.append(gc.get_threshold())
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*_as_usual.pop())


def search_as_usual() -> None:
    """Search as Python does by itself: work begins, and what it leaves can hold large tensors."""
    if _as_usual:
        gc.set_threshold(*_as_usual[-1])
