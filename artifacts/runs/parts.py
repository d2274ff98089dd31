"""Which of stored completions are measured: the first problems, the first samples, those there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import Store
from schemas.errors import InputError
from schemas.imported import Part, PartialAnswers
from schemas.references import TableRef

A = TypeVar("A")
WHOLE = Part()


def first_of(
    store: Store, problems: TableRef, completions: TableRef, part: Part, where: str
) -> tuple[TableRef, TableRef]:
    """The same two tables cut to the first problems, and to the first samples of each.

    Provenance is kept. InputError where `part` wants more samples than there are.
    """
    table, stored = store.read(problems), store.read(completions)
    number = stored.num_rows // max(1, table.num_rows)
    if part.samples is not None and part.samples > number:
        raise _too_many(part.samples, number, where)
    limit = min(part.limit or table.num_rows, table.num_rows)
    samples = part.samples or number
    if (limit, samples) == (table.num_rows, number):
        return problems, completions
    kept = table.slice(0, limit)
    mask = pc.and_(
        pc.is_in(stored["problem_id"], kept["problem_id"].combine_chunks()),
        pc.less(stored["sample_index"], pa.scalar(samples, pa.int32())),
    )
    config = provenance_of(stored).config
    small = problems
    if limit < table.num_rows:
        parents = {"problems": problems.digest}
        of = provenance_of(table).config
        small = store.write("problems", kept, producer="limit", parents=parents, config=of)
    return small, store.write(
        "completions",
        stored.filter(mask),
        producer="limit",
        parents={"problems": small.digest, "completions": completions.digest},
        config={**config, **({"samples": samples} if "samples" in config else {})},
    )


@dataclass(frozen=True)
class Chosen:
    """The problems that are measured, how many answers of each, and what was missing."""

    ids: tuple[str, ...]
    samples: int
    missing: PartialAnswers | None


def choose(
    known: Sequence[str], answered: Mapping[str, Sequence[A]], part: Part, where: str
) -> Chosen:
    """Which of the problems `known` are measured, of those that are `answered`.

    Every problem must have the same number of answers, or at least `part.samples` of them.
    InputError says how many have not, unless `part` allows it: then a problem without an answer is
    left out, and of the others as many answers count as the one with the fewest has. With
    `part.samples`, problems with fewer are left out too.
    """
    asked = known[: part.limit]
    there = [identity for identity in asked if answered.get(identity)]
    without = len(asked) - len(there)
    if without and not part.allow_missing:
        first = next(identity for identity in asked if not answered.get(identity))
        raise InputError(
            f"{without} of {len(asked)} problems have no completion (first: {first!r})",
            where,
            "answer every problem, give a dataset of those that were answered, or add "
            "--allow-missing",
        )
    if not there:
        raise InputError("answers none of the problems", where, "give the --dataset it answers")
    counts = Counter(len(answered[identity]) for identity in there)
    samples = part.samples or min(counts)
    if samples > max(counts):
        raise _too_many(samples, max(counts), where)
    if part.samples is None and len(counts) > 1 and not part.allow_missing:
        shown = ", ".join(f"{size} for {times} problems" for size, times in sorted(counts.items()))
        raise InputError(
            f"problems have different numbers of completions ({shown})",
            where,
            "give all the same, --samples for the first of each, or --allow-missing",
        )
    enough = tuple(identity for identity in there if len(answered[identity]) >= samples)
    if len(enough) < len(there) and not part.allow_missing:
        short = next(identity for identity in there if len(answered[identity]) < samples)
        raise InputError(
            f"{len(there) - len(enough)} of {len(there)} problems have fewer than {samples} "
            f"completions (first: {short!r})",
            where,
            "give fewer --samples, or leave these problems out with --allow-missing",
        )
    fewer = sum(times for size, times in counts.items() if size < max(counts))
    fewer = len(there) - len(enough) if part.samples else fewer
    missing = PartialAnswers(
        asked=len(asked),
        without_answer=without,
        with_fewer=fewer,
        measured=len(enough),
        samples=samples,
        unused=sum(len(answered[identity]) - samples for identity in enough),
    )
    return Chosen(enough, samples, missing if without or fewer else None)


def _too_many(wanted: int, number: int, where: str) -> InputError:
    return InputError(
        f"has {number} completions a problem, not {wanted}",
        f"--samples {wanted}, {where}",
        f"give at most {number}",
    )
