"""What changes when the same completions are scored by another scorer: how many, which, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError

Direction = Literal["lost", "won", "moved"]
KEY = ("problem_id", "sample_index")
READ = ("reward", "outcome", "code")
KIND = ("direction", "code_before", "code_after")


@dataclass(frozen=True)
class ChangedRow:
    """One completion whose verdict changed; each pair is (before, after)."""

    problem_id: str
    sample_index: int
    reward: tuple[float, float]
    outcome: tuple[str, str]
    code: tuple[str, str]


@dataclass(frozen=True)
class ChangedGroup:
    """All rows that changed from one code to another in one direction.

    `direction` is `lost` where a reward of 1 became less, `won` where it became 1, `moved` where
    something else changed. The rows stay in `table`, with columns `_before` and `_after`, because a
    million rows as Python objects would take gigabytes.
    """

    direction: Direction
    codes: tuple[str, str]
    table: pa.Table

    @property
    def count(self) -> int:
        """How many rows there are."""
        return int(self.table.num_rows)

    def first(self, rows: int) -> tuple[ChangedRow, ...]:
        """The first `rows` of them, in the order of their keys."""
        return tuple(
            ChangedRow(
                row["problem_id"],
                row["sample_index"],
                **{name: (row[f"{name}_before"], row[f"{name}_after"]) for name in READ},
            )
            for row in self.table.slice(0, rows).to_pylist()
        )


@dataclass(frozen=True)
class ScoreChanges:
    """Two verdicts on each of `rows` completions; correct means a reward of 1.

    The four counts add up to `rows`. `groups` holds every changed row, the most important first:
    groups whose reward changed before those where only the code did, larger before smaller ones.
    """

    rows: int
    correct_in_both: int
    correct_only_before: int
    correct_only_after: int
    correct_in_neither: int
    groups: tuple[ChangedGroup, ...]


def compare_scores(before: pa.Table, after: pa.Table) -> ScoreChanges:
    """Compare two score tables of the same completions, row by row, in any order.

    Raises InputError where they do not hold the same completions, saying how many are only in one,
    where one holds a completion twice, or where there are none.
    """
    first, second = _in_order(before, "first"), _in_order(after, "second")
    if any(not first[name].equals(second[name]) for name in KEY):
        ours, theirs = _keys(first), _keys(second)
        raise InputError(
            f"the two score tables hold different completions: {len(ours & theirs)} are in both, "
            f"{len(ours - theirs)} only in the first, {len(theirs - ours)} only in the second",
            remedy="score the same completions twice",
        )
    was, now = (pc.equal(table["reward"], 1.0) for table in (first, second))
    return ScoreChanges(
        rows=first.num_rows,
        correct_in_both=_count(pc.and_(was, now)),
        correct_only_before=_count(pc.and_not(was, now)),
        correct_only_after=_count(pc.and_not(now, was)),
        correct_in_neither=_count(pc.and_not(pc.invert(was), now)),
        groups=_most_important_first(_changed(first, second)),
    )


def _changed(first: pa.Table, second: pa.Table) -> list[ChangedGroup]:
    """The rows that changed, in groups; both tables are in the order of the keys."""
    differs = pc.not_equal(first["reward"], second["reward"])
    for name in ("outcome", "code"):
        differs = pc.or_(differs, pc.not_equal(first[name], second[name]))
    old, new = (table.filter(differs) for table in (first, second))
    columns = {name: old[name] for name in KEY}
    for name in READ:
        columns |= {f"{name}_before": old[name], f"{name}_after": new[name]}
    was, now = (pc.equal(side["reward"], 1.0) for side in (old, new))
    lost, won = pc.and_not(was, now), pc.and_not(now, was)
    columns["direction"] = pc.if_else(lost, "lost", pc.if_else(won, "won", "moved"))
    table = pa.table(columns)
    kinds = table.group_by(list(KIND)).aggregate([]).to_pylist()
    return [
        ChangedGroup(
            kind["direction"],
            (kind["code_before"], kind["code_after"]),
            table.filter(reduce(pc.and_, (pc.equal(table[name], kind[name]) for name in KIND))),
        )
        for kind in kinds
    ]


def _most_important_first(groups: Sequence[ChangedGroup]) -> tuple[ChangedGroup, ...]:
    return tuple(
        sorted(
            groups,
            key=lambda group: (group.direction == "moved", -group.count, group.codes),
        )
    )


def _in_order(scores: pa.Table, which: str) -> pa.Table:
    """The columns compared, in the order of the keys."""
    if not scores.num_rows:
        raise InputError(f"the {which} score table is empty")
    table = scores.select([*KEY, *READ]).sort_by([(name, "ascending") for name in KEY])
    if table.num_rows > 1:
        same = pc.and_(*(pc.equal(table[name][1:], table[name][:-1]) for name in KEY))
        if pc.any(same).as_py():
            raise InputError(f"the {which} score table holds a completion twice")
    return table


def _keys(scores: pa.Table) -> set[tuple[str, int]]:
    return set(zip(*(scores[name].to_pylist() for name in KEY), strict=True))


def _count(mask: pa.ChunkedArray) -> int:
    return int(pc.sum(mask).as_py())
