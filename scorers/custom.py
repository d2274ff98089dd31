"""A user's own scorer: a plain function of one row, given a name, a version and a spec.

It finds no function by name; that is the registry's.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable
from numbers import Real

import pyarrow as pa

from schemas.errors import InputError
from schemas.scores import OUTCOMES
from scorers.verdict import FINISHED, Scorer, Verdict, verdict_table

RowFunction = Callable[[str, str, str], "bool | float | Verdict"]
_NAME = re.compile("[A-Za-z][A-Za-z0-9_.-]*")


def custom_scorer(*, name: str, version: int, spec: str) -> Callable[[RowFunction], Scorer]:
    """Decorator: turn `function(text, finish_reason, expected_answer)` into a `Scorer`.

        @custom_scorer(name="ends_right", version=1, spec="The text ends in the right integer.")
        def ends_right(text, finish_reason, expected_answer):
            return finish_reason == "stop" and text.endswith(expected_answer)

    The function returns a bool, a reward in [0, 1], or a whole `Verdict`. For a bool or a reward
    the outcome is correct for 1; otherwise truncated where finish_reason is `length`, else
    wrong_answer. The source of the function is part of the spec, so that an edited function is
    another instrument even where its author forgot to raise the version; what the function calls
    is not.

    Raises InputError for a name with other characters than letters, digits and `_.-`, a version
    below 1 or an empty spec. While scoring, an exception of the function, or a value that is no
    reward, is an InputError that names the row: it never becomes a reward of 0.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a scorer", remedy="use letters, digits and _ . - alone"
        )
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"version {version!r} is not 1, 2, 3 …", f"scorer {name}")
    if not spec.strip():
        raise InputError("its spec is empty", f"scorer {name}", "say the rule in words")

    def wrap(function: RowFunction) -> Scorer:
        identity = f"{name}@{version}"

        def judge(
            text: pa.ChunkedArray, finish_reason: pa.ChunkedArray, expected_answer: pa.ChunkedArray
        ) -> pa.Table:
            columns = (text.to_pylist(), finish_reason.to_pylist(), expected_answer.to_pylist())
            return verdict_table(
                _judge_row(function, f"scorer {identity}, row {row}", *values)
                for row, values in enumerate(zip(*columns, strict=True))
            )

        return Scorer(name, version, f"{spec}\n{_fingerprint(function)}", judge)

    return wrap


def _judge_row(
    function: RowFunction, where: str, text: str, finish_reason: str, expected_answer: str
) -> Verdict:
    try:
        given = function(text, finish_reason, expected_answer)
    except Exception as error:
        what = " ".join(f"its function raised {type(error).__name__}: {error}".split())
        raise InputError(what, where, "mend the function; no row was scored") from error
    if isinstance(given, Verdict):
        if given.outcome not in OUTCOMES or not given.code or not _is_reward(given.reward):
            raise InputError(f"its function returned {given!r}", where, f"outcomes are {OUTCOMES}")
        return given
    if not _is_reward(given):
        raise InputError(
            f"its function returned {given!r}", where, "return True, False or a number from 0 to 1"
        )
    reward = float(given)
    if reward == 1.0:
        return Verdict(reward, "correct", "accepted", None)
    outcome = "wrong_answer" if finish_reason == FINISHED else "truncated"
    return Verdict(reward, outcome, "partial" if reward else "rejected", None)


def _is_reward(value: object) -> bool:
    """Whether a value is a bool or a number from 0 to 1, numpy's included."""
    if type(value).__module__ == "numpy" and type(value).__name__ == "bool":
        return True
    return isinstance(value, Real) and 0.0 <= float(value) <= 1.0


def _fingerprint(function: RowFunction) -> str:
    """A line that changes when the function's source does, or says that it has none."""
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return "source: not available"
    return f"source sha256: {hashlib.sha256(source.encode('utf-8', 'replace')).hexdigest()}"
