"""Python's search for garbage where there is none: while a command starts, and when it ends.

Importing makes hundreds of thousands of objects that stay. Python looks through those that are
there after every 700 new ones, and through all of them again and again, which takes a fifth of the
time. At its end it looks through all of them several times more, which takes two seconds.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
from collections.abc import Iterator

SELDOM = (100_000, 20, 100)  # new objects before a search, and searches before a longer one

_as_usual: list[tuple[int, int, int]] = []


@contextlib.contextmanager
def seldom_searched() -> Iterator[None]:
    """Search seldom in the block, until `search_as_usual` is called in it.

    At the end of the process, after all that is to be done then, nothing is searched any more.
    """
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)  # what is registered first is called last
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
