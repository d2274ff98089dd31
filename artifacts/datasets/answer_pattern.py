"""What `--answer-pattern` finds in each answer, by a process that is ended when it takes too long.

A pattern that repeats what repeats inside it may take years for a short text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from policy.limited.process import LimitedProcess, MemoryLimitError, TimeLimitError, batches
from schemas.errors import InputError

PROGRAM = Path(__file__).with_name("answer_pattern_child.py")
ROW_SECONDS = 0.5  # of computing; a usual pattern takes some microseconds
CPU_SECONDS, EACH_CPU_SECONDS, CHARACTERS_A_SECOND = 3.0, 0.02, 1e6  # of a batch
BATCH, BATCH_CHARACTERS = 100, 1_000_000
MEMORY_BYTES = 2 * 2**30
ADVICE = "repeat nothing that repeats inside itself, as (a+)+ does"

FINDER = LimitedProcess(PROGRAM, MEMORY_BYTES)
Text = tuple[int, str]  # with its row


def last_groups(pattern: str, texts: Sequence[Text], name: str) -> Iterator[str | None]:
    """The group of the last match in each text, None where there is none.

    InputError names the row where the pattern takes more than `ROW_SECONDS`.
    """
    for batch in batches(texts, lambda one: len(one[1]), BATCH_CHARACTERS, most=BATCH):
        yield from _of_batch(pattern, batch, name)


def _of_batch(pattern: str, batch: Sequence[Text], name: str) -> Sequence[str | None]:
    asked = {"pattern": pattern, "texts": [text for _, text in batch], "row_seconds": ROW_SECONDS}
    characters = sum(len(text) for _, text in batch)
    seconds = CPU_SECONDS + EACH_CPU_SECONDS * len(batch) + characters / CHARACTERS_A_SECOND
    try:
        answer = FINDER.ask(asked, seconds)
    except (TimeLimitError, MemoryLimitError) as error:
        what = "time" if isinstance(error, TimeLimitError) else "memory"
        first, last = batch[0][0], batch[-1][0]
        raise InputError(
            f"--answer-pattern {pattern} takes too much {what}",
            f"{name}, " + (f"rows {first} to {last}" if len(batch) > 1 else f"row {first}"),
            ADVICE,
        ) from None
    if "slow" in answer:
        number, text = batch[answer["slow"]]
        raise InputError(
            f"--answer-pattern {pattern} takes more than {ROW_SECONDS:g} s in {text[-60:]!r}",
            f"{name}, row {number}",
            ADVICE,
        )
    found: list[str | None] = answer["found"]
    return found
