"""A user's own scorer: a plain function of one row, with a name, a version and a spec.

`scorers.registry` finds scorers by name.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from numbers import Real
from pathlib import Path

import pyarrow as pa

from schemas.errors import InputError
from schemas.finish_reasons import STOP
from schemas.scores import OUTCOMES
from scorers.scorer import Scorer, Verdict, check_identity, verdict_table

RowFunction = Callable[[str, str, str], "bool | float | Verdict"]


def custom_scorer(*, name: str, version: int, spec: str) -> Callable[[RowFunction], Scorer]:
    """Decorator: turn `function(text, finish_reason, expected_answer)` into a `Scorer`.

        @custom_scorer(name="ends_right", version=1, spec="The text ends in the right integer.")
        def ends_right(text, finish_reason, expected_answer):
            return finish_reason == "stop" and text.endswith(expected_answer)

    The function returns a bool, a reward in [0, 1], or a whole `Verdict`. For a bool or a reward,
    the outcome is correct for 1; otherwise truncated where finish_reason is `length`, else
    wrong_answer. The file that holds the function is part of the spec, so that an edited rule is
    another instrument even if its author forgot to raise the version. Other files that it imports
    are not part of it.

    Raises InputError for a name with other characters than letters, digits and `_.-`, a version
    below 1 or an empty spec. While scoring, an exception in the function, or a value that is not a
    reward, is an InputError that names the row; it never becomes a reward of 0.
    """
    check_identity(name, version, spec)

    def wrap(function: RowFunction) -> Scorer:
        identity = f"{name}@{version}"

        def score_columns(
            text: pa.ChunkedArray, finish_reason: pa.ChunkedArray, expected_answer: pa.ChunkedArray
        ) -> pa.Table:
            columns = (text.to_pylist(), finish_reason.to_pylist(), expected_answer.to_pylist())
            return verdict_table(
                _score_row(function, f"scorer {identity}, row {row}", *values)
                for row, values in enumerate(zip(*columns, strict=True))
            )

        return Scorer(name, version, f"{spec}\n{_fingerprint(function)}", score_columns)

    return wrap


def _score_row(
    function: RowFunction, where: str, text: str, finish_reason: str, expected_answer: str
) -> Verdict:
    try:
        given = function(text, finish_reason, expected_answer)
    except Exception as error:
        what = " ".join(f"its function raised {type(error).__name__}: {error}".split())
        raise InputError(what, where, "fix the function; no row was scored") from error
    if isinstance(given, Verdict):
        texts = [given.code, *([] if given.parsed_answer is None else [given.parsed_answer])]
        sound = given.outcome in OUTCOMES and bool(given.code) and _is_reward(given.reward)
        if not sound or not all(map(_is_text, texts)):
            raise InputError(f"its function returned {given!r}", where, f"outcomes are {OUTCOMES}")
        return given
    if not _is_reward(given):
        raise InputError(
            f"its function returned {given!r}", where, "return True, False or a number from 0 to 1"
        )
    reward = float(given)
    if reward == 1.0:
        return Verdict(reward, "correct", "accepted", None)
    outcome = "wrong_answer" if finish_reason == STOP else "truncated"
    return Verdict(reward, outcome, "partial" if reward else "rejected", None)


def _is_reward(value: object) -> bool:
    """Whether a value is a bool or a number from 0 to 1, numpy's included."""
    if type(value).__module__ == "numpy" and type(value).__name__ == "bool":
        return True
    return isinstance(value, Real) and 0.0 <= float(value) <= 1.0


def _is_text(value: object) -> bool:
    """Whether a value is text that Arrow can hold."""
    if not isinstance(value, str):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _fingerprint(function: RowFunction) -> str:
    """A line that changes with the function or its file, or that says there is no source.

    It covers the whole file, because what the function calls decides as much as the function.
    """
    try:
        source = inspect.getsource(function).encode("utf-8", "replace")
        file = inspect.getsourcefile(function)
        source += Path(file).read_bytes() if file else b""
    except (OSError, TypeError):
        return "source: not available"
    return f"source sha256: {hashlib.sha256(source).hexdigest()}"
