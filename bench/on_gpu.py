"""The report's section "On a GPU", from the records of `python -m bench --only gpu`."""

from __future__ import annotations

from bench.cells import middle, records_of, table
from bench.compared import comparisons, peaks
from bench.process import Record


def section(found: Record) -> list[str]:
    """Setting, comparisons, peak, agreement with a CPU in float32, and how it was measured."""
    records: list[Record] = found["records"]
    products: str = found["products"]
    return [
        "",
        "## On a GPU",
        "",
        "`python -m bench --only gpu` measures this and keeps the rest of the page.",
        "",
        *_setting(found),
        "",
        *comparisons(records, bars=False),
        "",
        *(peaks(records, products=products, bars=False) if _have_peaks(records) else ()),
        "",
        *_agreement(records),
        "",
        *_method(found),
    ]


def _setting(found: Record) -> list[str]:
    machine, versions = found["machine"], found["versions"]
    rows = [
        ("date", found["date"]),
        ("GPU", found["gpu"]),
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("model", found["model"] + (" (quick: figures mean nothing)" if found["quick"] else "")),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("duration", f"{found['minutes']:.1f} minutes"),
    ]
    return table(("", ""), rows)


def _have_peaks(records: list[Record]) -> bool:
    return any("peak_operations_per_second" in record for record in records)


def _agreement(records: list[Record]) -> list[str]:
    """How far log-probabilities are from those of float32, and what the check of a step reads."""
    rows = []
    for one in records_of(records, "agreement"):
        shape = f"{one['tokens']:,} tokens"
        for side in ("sampler", "learner"):
            largest, mean = one[f"{side}_largest_nats"], one[f"{side}_mean_nats"]
            words = f"the {side}'s log-probabilities, {shape}, against float32 on the CPU"
            rows.append((words, f"{mean:.2g}", f"{largest:.2g}", "—"))
    steps = records_of(records, "step ours")
    if steps:
        gaps = [gap for one in steps for gap in one["sampling_gap_nats"]]
        words = f"the sampler's against the learner's, means of {len(gaps)} steps"
        limit = f"{middle(steps, 'largest_gap_nats'):g}"
        rows.append((words, f"{sum(gaps) / len(gaps):.2g}", f"{max(gaps):.2g}", limit))
    if not rows:
        return ["Agreement was not measured."]
    return table(("nats a token", "mean", "largest", "limit of the mean"), rows)


def _method(found: Record) -> list[str]:
    records: list[Record] = found["records"]
    lines = [
        "- Our runs and the others take turns, each in a fresh process; a clock is read only when "
        "the GPU has done all that it was told. Peak memory is the most that PyTorch held on the "
        "GPU (`torch.cuda.max_memory_allocated`).",
        f"- Matrix products are in {found['products']} on both sides. Weights that learn are "
        "float32. `model.generate` has the whole model in that type, and all completions in one "
        "batch; TRL computes by its `bf16`. All else is as above.",
        "- Sampling is the median of several draws in one process, the first of which meets "
        "shapes that are new to the GPU. A step is the median of those after the first.",
    ]
    if found["failed"]:
        lines.append("- **Failed**, so not measured: " + "; ".join(found["failed"]))
    if found["left_out"]:
        lines.append("- Left out for lack of time: " + "; ".join(found["left_out"]))
    if not records_of(records, "step TRL"):
        lines.append("- TRL was not measured.")
    return lines
