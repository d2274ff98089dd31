"""What a scorer is, and what it returns: one verdict a row, or a table of verdicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from schemas.finish_reasons import FINISH_REASONS, STOP
from schemas.identity import digest_of
from schemas.problems import CANONICAL_INTEGER

VERDICT_SCHEMA = pa.schema(
    [
        pa.field("reward", pa.float64(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("parsed_answer", pa.string()),
    ]
)
_NAME = re.compile("[A-Za-z][A-Za-z0-9_.-]*")
FINISHED = STOP  # the name by which scorers of users import it
BLOCK_ROWS = 65_536  # rows scored together; bounds the memory of a pass, changes no verdict

ScoreColumns = Callable[[pa.ChunkedArray, pa.ChunkedArray, pa.ChunkedArray], pa.Table]


@dataclass(frozen=True)
class Verdict:
    """One scorer's verdict on one completion.

    `reward` is in [0, 1]; `outcome` is one of correct, wrong_answer, bad_format, truncated; `code`
    is finer and the scorer's own; `parsed_answer` is the integer that was read, as canonical
    decimal text, or None where there was none.
    """

    reward: float
    outcome: str
    code: str
    parsed_answer: str | None


@dataclass(frozen=True)
class Scorer:
    """A named, versioned rule. A changed rule is a new version; the old one stays runnable.

    `spec` is the whole rule in words; its digest goes into every scores table. `score_columns`
    takes the columns text, finish_reason and expected_answer, already checked, and returns the
    columns of `VERDICT_SCHEMA`, one row for each.
    """

    name: str
    version: int
    spec: str
    score_columns: ScoreColumns

    def __post_init__(self) -> None:
        check_identity(self.name, self.version, self.spec)

    @property
    def id(self) -> str:
        """NAME@VERSION, for example `final_int@1`."""
        return f"{self.name}@{self.version}"

    @property
    def spec_digest(self) -> str:
        """Hexadecimal SHA-256 over name, version and spec."""
        return digest_of({"name": self.name, "version": self.version, "spec": self.spec})

    def score(
        self,
        text: pa.Array | pa.ChunkedArray,
        finish_reason: pa.Array | pa.ChunkedArray,
        expected_answer: pa.Array | pa.ChunkedArray,
    ) -> pa.Table:
        """One verdict a row, in the order given: the columns of `VERDICT_SCHEMA`.

        Raises InputError, naming the row, for a null, a finish_reason that is neither `stop` nor
        `length`, or an expected answer that is not a canonical decimal integer: such rows have no
        verdict, and a reward of 0 for them would be false.
        """
        columns = [
            _text_column(column, name, self.id)
            for column, name in (
                (text, "text"),
                (finish_reason, "finish_reason"),
                (expected_answer, "expected_answer"),
            )
        ]
        if len({len(column) for column in columns}) != 1:
            lengths = ", ".join(str(len(column)) for column in columns)
            raise InputError(
                f"text, finish_reason and expected_answer differ in length ({lengths})",
                f"scorer {self.id}",
            )
        _refuse(
            pc.invert(pc.is_in(columns[1], pa.array(FINISH_REASONS, columns[1].type))),
            columns[1],
            f"scorer {self.id}: finish_reason",
            "it must be stop or length",
        )
        _refuse(
            pc.invert(pc.match_substring_regex(columns[2], CANONICAL_INTEGER)),
            columns[2],
            f"scorer {self.id}: expected_answer",
            "write it as a plain decimal integer, like 12, -7 or 0",
        )
        try:
            verdicts = self.score_columns(*columns)
        except (InputError, KeyboardInterrupt):
            raise
        except Exception as error:
            what = " ".join(f"its score_columns raised {type(error).__name__}: {error}".split())
            raise InputError(what, f"scorer {self.id}", "fix it; no row was scored") from error
        if (
            not isinstance(verdicts, pa.Table)
            or verdicts.schema != VERDICT_SCHEMA
            or len(verdicts) != len(columns[0])
        ):
            raise InputError(
                "its score_columns returned no table of VERDICT_SCHEMA with one row for each row",
                f"scorer {self.id}",
            )
        return verdicts


def check_identity(name: str, version: int, spec: str) -> None:
    """Raise InputError unless a scorer has a valid name, a version and a rule in words."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be the name of a scorer", remedy="use only letters, digits and _ . -"
        )
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"version {version!r} is not 1, 2, 3 …", f"scorer {name}")
    if not isinstance(spec, str) or not spec.strip():
        raise InputError("its spec is empty", f"scorer {name}", "write the rule in words")


def in_blocks(
    score_block: Callable[[pa.Array, pa.Array, pa.Array], pa.Table],
) -> ScoreColumns:
    """Score columns block by block: at most `BLOCK_ROWS` rows, in contiguous arrays.

    The blocks hold large_string, so that no number of rows or bytes overflows an offset.
    """

    def score_columns(
        text: pa.ChunkedArray, finish_reason: pa.ChunkedArray, expected_answer: pa.ChunkedArray
    ) -> pa.Table:
        columns = (text, finish_reason, expected_answer)
        blocks = [
            score_block(
                *(
                    pc.cast(column.slice(start, BLOCK_ROWS), pa.large_string()).combine_chunks()
                    for column in columns
                )
            )
            for start in range(0, len(text), BLOCK_ROWS)
        ]
        return pa.concat_tables(blocks) if blocks else VERDICT_SCHEMA.empty_table()

    return score_columns


def verdict_table(verdicts: Iterable[Verdict]) -> pa.Table:
    """The table of some verdicts, for scorers that score one row at a time."""
    rows = list(verdicts)
    return pa.table(
        {
            "reward": pa.array([float(row.reward) for row in rows], pa.float64()),
            "outcome": pa.array([row.outcome for row in rows], pa.string()),
            "code": pa.array([row.code for row in rows], pa.string()),
            "parsed_answer": pa.array([row.parsed_answer for row in rows], pa.string()),
        },
        schema=VERDICT_SCHEMA,
    )


def coded_table(
    kinds: np.ndarray, codes: Sequence[tuple[str, str]], parsed_answer: pa.Array
) -> pa.Table:
    """The table of verdicts that are all one of `codes`, pairs (outcome, code).

    `kinds` holds, for each row, its place in `codes`. The reward is 1 for the outcome correct and
    0 for every other.
    """
    rewards = np.array([float(outcome == "correct") for outcome, _ in codes])
    outcomes = pa.array([outcome for outcome, _ in codes], pa.string())
    names = pa.array([code for _, code in codes], pa.string())
    return pa.table(
        {
            "reward": rewards[kinds],
            "outcome": outcomes.take(pa.array(kinds)),
            "code": names.take(pa.array(kinds)),
            "parsed_answer": pc.cast(parsed_answer, pa.string()),
        },
        schema=VERDICT_SCHEMA,
    )


def _text_column(column: pa.Array | pa.ChunkedArray, name: str, scorer: str) -> pa.ChunkedArray:
    """The column as chunks of strings, without nulls."""
    where = f"scorer {scorer}: {name}"
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    if pa.types.is_dictionary(chunked.type):
        chunked = pc.cast(chunked, chunked.type.value_type)
    if chunked.null_count:
        row = pc.index(pc.is_null(chunked), True).as_py()
        raise InputError(f"row {row} has none", where, "a row without it cannot be scored")
    if pa.types.is_null(chunked.type):  # an empty column carries no type
        chunked = pc.cast(chunked, pa.string())
    if not (pa.types.is_string(chunked.type) or pa.types.is_large_string(chunked.type)):
        raise InputError(f"it holds {chunked.type}, not text", where)
    return chunked


def _refuse(bad: pa.ChunkedArray, column: pa.ChunkedArray, where: str, remedy: str) -> None:
    """Raise InputError for the first row that is bad."""
    row = pc.index(bad, True).as_py()
    if row >= 0:
        value = column[row].as_py()
        shown = repr(value if len(value) <= 40 else value[:40] + "…")
        raise InputError(f"row {row} is {shown}", where, remedy)
