"""`python -m bench.precision`: float32 beside bfloat16 on this processor, as a table in Markdown.

Sampling 48 x 4 and 64 x 16 completions, and whole steps of learning of 16 x 8. Each measurement is
a fresh process; the two precisions take turns, and a ratio compares two runs next to each other.
Both are told as a fraction of what this processor reaches in a large product of the same type.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.cells import giga, middle, number, spread, table
from bench.process import Record, run
from schemas.config import Precision

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
SAMPLED = ((48, 4), (64, 16))
STEP = (16, 8)
NEW_TOKENS = 10


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3, help="pairs of each measurement")
    parser.add_argument("--tiny", action="store_true", help="a tiny model: only the code is tried")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "home" if given.tiny else None
        tiny = {"tiny": str(Path(scratch) / "model")} if given.tiny else {}
        found = run("setting", {"computing_alone": True, **tiny}, home=home)
        print("\n".join(lines(found, measured(str(found["folder"]), given.pairs))))


def measured(folder: str, pairs: int) -> dict[str, list[tuple[Record, Record]]]:
    """Pairs of a float32 and a bfloat16 run, by what was measured."""
    given: Record = {"folder": folder, "new_tokens": NEW_TOKENS, "seed": 1}
    plans = {
        f"sampling {problems} x {samples}": (
            "sampler",
            {"side": "ours", "problem_count": problems, "samples": samples, "repeats": 3},
        )
        for problems, samples in SAMPLED
    }
    plans[f"a step of {STEP[0]} x {STEP[1]}"] = (
        "train_step",
        {"problem_count": STEP[0], "samples": STEP[1], "steps": 4},
    )
    found: dict[str, list[tuple[Record, Record]]] = {name: [] for name in plans}
    for _ in range(pairs):
        for name, (benchmark, own) in plans.items():
            one, other = (
                run(benchmark, given | own | {"precision": precision}) for precision in PRECISIONS
            )
            found[name].append((one, other))
    return found


def lines(setting: Record, found: dict[str, list[tuple[Record, Record]]]) -> list[str]:
    """The table, and what it was measured on."""
    machine = setting["machine"]
    rows = [
        [name, *(_speed(part) for part in zip(*pairs, strict=True)), _ratio(pairs)]
        for name, pairs in found.items()
    ]
    gaps = [
        gap
        for pairs in found.values()
        for _, one in pairs
        for gap in one.get("sampling_gap_nats", ())
    ]
    busy = max(
        one["other_cores_busy"] for pairs in found.values() for pair in pairs for one in pair
    )
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {setting['model']}; "
        f"other work kept {busy:.2f} cores busy at most.",
        "",
        *table(["", *PRECISIONS, "ratio (median, least to most)"], rows),
        "",
        f"Sampling gap in bfloat16: {spread(gaps)} nats a token ({len(gaps)} steps).",
    ]


def _speed(runs: Sequence[Record]) -> str:
    share = f"{100 * middle(runs, 'fraction_of_peak_distinct'):.0f} % of"
    peak = f"{giga(middle(runs, 'peak_operations_per_second'))} GFLOP/s"
    if "completions_per_second" in runs[0]:
        speed = f"{number(middle(runs, 'completions_per_second'))} completions/s"
    else:
        speed = f"{number(middle(runs, 'seconds_per_step'))} s"
    return f"{speed}, {share} {peak}"


def _ratio(pairs: Sequence[tuple[Record, Record]]) -> str:
    ratios = [_seconds(one) / _seconds(other) for one, other in pairs]
    return f"{median(ratios):.2f} x ({spread(ratios)})"


def _seconds(one: Record) -> float:
    found = one.get("seconds_per_step")
    return float(found if found is not None else median(one["seconds"]))


if __name__ == "__main__":
    main()
