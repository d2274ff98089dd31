"""The report's tables of ours beside the usual tools, and beside the machine's peak."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.cells import giga, gigabytes, middle, number, records_of, spread, table, verdict
from bench.process import Record


def comparisons(records: Sequence[Record], *, bars: bool = True) -> list[str]:
    """Speed and peak memory of every pair; `bars` are what was promised, on a CPU alone."""
    rows: list[Sequence[str]] = []
    for ours, theirs, name, bar in _pairs(records):
        mine, other = records_of(records, ours), records_of(records, theirs)
        if not mine or not other:
            asked = f"≥ {bar:g} ×" if bars else "—"
            rows.append((name, "—", "not measured", "—", asked, "—"))
            continue
        if "completions_per_second" in mine[0]:
            unit, key, faster = "completions/s", "completions_per_second", 1
        else:
            unit, key, faster = "s a step", "seconds_per_step", -1
        ratios = [(a[key] / b[key]) ** faster for a, b in zip(mine, other, strict=False)]
        rows.append(
            (
                name,
                f"{number(middle(mine, key))} {unit}",
                f"{number(middle(other, key))} {unit}",
                f"**{number(median(ratios))} ×** ({spread(ratios)}; {len(ratios)} pairs)",
                f"≥ {bar:g} ×" if bars else "—",
                verdict(median(ratios) >= bar) if bars else "—",
            )
        )
        memory = (
            "peak_device_memory_bytes"
            if "peak_device_memory_bytes" in mine[0]
            else "peak_memory_bytes"
        )
        share = middle(mine, memory) / middle(other, memory)
        promised = bars and key == "seconds_per_step"
        rows.append(
            (
                f"{name}: peak memory",
                gigabytes(middle(mine, memory)),
                gigabytes(middle(other, memory)),
                f"{share:.0%}",
                "≤ 60 %" if promised else "—",
                verdict(share <= 0.6) if promised else "—",
            )
        )
    head = ("", "threeloops", "instead", "ratio (of each pair: median, least to most)", "bar", "")
    return table(head, rows)


def _pairs(records: Sequence[Record]) -> list[tuple[str, str, str, float]]:
    """(our label, their label, words, bar) of every comparison that was begun."""
    labels = dict.fromkeys(record["label"] for record in records)
    pairs = []
    for label in labels:
        if label.startswith("step ours"):
            shape = _shape(records, label)
            for theirs, kind in (("step TRL", ""), ("step TRL as shipped", ", as shipped")):
                words = f"learning step, {shape}, against TRL's GRPOTrainer{kind}"
                pairs.append((label, theirs, words, 15.0))
        elif label.startswith("sampler ours"):
            theirs = label.replace("ours", "generate")
            words = f"sampling {label[13:]} completions, against `model.generate`"
            pairs.append((label, theirs, words, 10.0))
    return pairs


def peaks(records: Sequence[Record], *, products: str, bars: bool = True) -> list[str]:
    """Useful arithmetic of our runs beside the fastest matrix product, of the type `products`."""
    fastest = [
        record["peak_operations_per_second"]
        for record in records
        if "peak_operations_per_second" in record
    ]
    rows: list[Sequence[str]] = [
        (f"{products} matrix product", f"{giga(median(fastest))} GFLOP/s", "100 %", "", "")
    ]
    named = {label: name for label, _, name, _ in reversed(_pairs(records))}
    for label, name in reversed(named.items()):
        runs = records_of(records, label)
        name = name.split(", against")[0]
        least = 0.6 if label.startswith("step") else 0.5
        for count, words, bar in (
            ("plain", "each generated token once", least),
            ("distinct", "equal beginnings once", None),
        ):
            rate = middle(runs, f"operations_per_second_{count}")
            share = middle(runs, f"fraction_of_peak_{count}")
            rows.append(_peak_row(f"{name}: {words}", rate, share, bar if bars else None))
    return table(("", "useful arithmetic", "of the peak", "bar", ""), rows)


def _peak_row(name: str, rate: float, share: float, bar: float | None) -> tuple[str, ...]:
    return (
        name,
        f"{giga(rate)} GFLOP/s",
        f"{share:.0%}",
        f"≥ {bar:.0%}" if bar else "—",
        verdict(share >= bar) if bar else "—",
    )


def _shape(records: Iterable[Record], label: str) -> str:
    asked = records_of(records, label)[0]["parameters"]
    return f"{asked['problem_count']} x {asked['samples']} completions"
