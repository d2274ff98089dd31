"""A command searches for garbage seldom while it starts, and as usual once it works."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from flows.cli.garbage import SELDOM, search_as_usual, seldom_searched


def test_it_is_searched_seldom_in_the_block_and_as_usual_when_work_begins() -> None:
    usual = gc.get_threshold()
    with seldom_searched():
        assert gc.get_threshold() == SELDOM
        search_as_usual()
        assert gc.get_threshold() == usual
    assert gc.get_threshold() == usual


def test_an_error_leaves_the_usual_search() -> None:
    usual = gc.get_threshold()
    with pytest.raises(KeyError), seldom_searched():
        raise KeyError
    assert gc.get_threshold() == usual


def test_outside_of_such_a_block_nothing_is_changed() -> None:
    usual = gc.get_threshold()
    search_as_usual()
    assert gc.get_threshold() == usual


def test_at_the_end_nothing_is_searched_and_all_that_was_to_be_done_is_done() -> None:
    code = (
        "import atexit, gc, weakref\n"
        "from flows.cli.garbage import seldom_searched\n"
        "class Thing: pass\n"
        "thing = Thing()\n"
        "with seldom_searched(): pass\n"
        "atexit.register(lambda: print('asked', gc.get_freeze_count()))\n"
        "weakref.finalize(thing, print, 'finalized')\n"
        "import sys; sys.stdout.write('unflushed\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["asked 0", "finalized", "unflushed"]
