"""The tree of errors: one line each, and the same after a trip to another process."""

from __future__ import annotations

import pickle

import pytest

from schemas.errors import (
    InputError,
    RefusedError,
    StoppedError,
    StoreError,
    ThreeLoopsError,
    first_line,
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("it is empty"), "it is empty"),
        (InputError("it is empty", "file.jsonl"), "file.jsonl: it is empty"),
        (InputError("it is empty", "file.jsonl", "add rows"), "file.jsonl: it is empty; add rows"),
        (InputError("it is empty", remedy="add rows"), "it is empty; add rows"),
        (StoppedError(3, "too far", 2), "learning stopped at step 3: too far"),
        (StoppedError(3, "too far", 2, "kept"), "learning stopped at step 3: too far; kept"),
    ],
)
def test_an_error_is_one_line_that_says_what_where_and_what_to_do(
    error: Exception, line: str
) -> None:
    assert str(error) == line


@pytest.mark.parametrize(
    "error",
    [
        InputError("what", "where", "remedy"),
        StoreError("what", "where", "remedy"),
        RefusedError("no"),
        StoppedError(3, "too far", 2, "kept"),
    ],
)
def test_every_error_survives_pickling(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_all_are_of_one_tree() -> None:
    assert issubclass(StoreError, InputError)
    for kind in (InputError, RefusedError, StoppedError):
        assert issubclass(kind, ThreeLoopsError)
        assert kind is not StoreError


def test_what_was_kept_is_added_to_the_same_error() -> None:
    class OtherError(StoppedError):
        remedy = "do this"

    stop = OtherError(4, "too far", 2).having("kept in a folder")
    assert type(stop) is OtherError
    assert (stop.step, stop.reason, stop.last_good) == (4, "too far", 2)
    assert str(stop).endswith("; kept in a folder")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("\n one\ntwo"), "one"),
        (ValueError(" \n"), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_the_first_line_of_an_error_is_never_empty(error: BaseException, line: str) -> None:
    assert first_line(error) == line
