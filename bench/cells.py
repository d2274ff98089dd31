"""How the report writes figures and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.process import Record


def records_of(records: Iterable[Record], label: str) -> list[Record]:
    return [record for record in records if record["label"] == label]


def middle(runs: Iterable[Record], key: str) -> float:
    return float(median(run[key] for run in runs))


def verdict(met: bool) -> str:
    return "met" if met else "missed"


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    return f"{number(min(values))} to {number(max(values))}"


def giga(value: float) -> str:
    return number(value / 1e9)


def gigabytes(value: float) -> str:
    return f"{value / 1e9:.2f} GB"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
