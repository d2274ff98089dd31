"""The table that compares the three loops, as cells of text for terminal and markdown alike."""

from __future__ import annotations

from collections.abc import Sequence

from artifacts.text.numbers import nats, short_rate
from artifacts.text.rates import constant_words
from schemas.result_parts import DemoRow, Interval

DEMO_COLUMNS = ("loop", "what", "changed", "pass@1, %", "pass@4, %", "KL, nats")
ORACLE_MARK = "*"  # ends `what` in the row of the oracle


def demo_cells(row: DemoRow) -> tuple[str, ...]:
    """One cell for each of `DEMO_COLUMNS`; empty where the loop has no such number."""
    return (
        row.loop,
        row.what,
        row.changed,
        _rate(row.pass_at_1, row.pass_at_1_interval),
        _rate(row.pass_at_4, row.pass_at_4_interval),
        "" if row.kl_nats is None else nats(row.kl_nats),
    )


def demo_notes(rows: Sequence[DemoRow]) -> tuple[str, ...]:
    """What a reader of the table must know, a line each; the last explains `ORACLE_MARK`."""
    best = rows[0].best_constant
    control = () if best is None else (f"the best constant answer {constant_words(best)}",)
    return (
        f"n = {rows[0].problems} problems, 95 % intervals in brackets",
        *control,
        f"{ORACLE_MARK} knows the expected answer: what a perfect scorer could pick",
    )


def _rate(rate: float | None, ends: Interval | None) -> str:
    """In whole percent, so that the table fits 80 columns."""
    return "" if rate is None or ends is None else short_rate(rate, ends)
