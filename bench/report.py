"""docs/benchmarks.md and docs/benchmarks.json from the records of a run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from bench.process import Record

HIDDEN = ("tables",)  # records that measure nothing
QUIET = 0.15  # cores busy with other work, above which a figure is called disturbed


def write_report(found: Record, folder: Path) -> Path:
    """Write both files and return the path of the readable one."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [record for record in found["records"] if record["label"] not in HIDDEN]
    raw = found | {"records": kept}
    (folder / "benchmarks.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    path = folder / "benchmarks.md"
    path.write_text(render(raw), encoding="utf-8")
    return path


def render(found: Record) -> str:
    """The whole page."""
    records: list[Record] = found["records"]
    parts = [
        "# Benchmarks",
        "",
        "`make bench` writes this page. Every single run is in [benchmarks.json](benchmarks.json). "
        "How each measurement is taken is said at the top of its file in `bench/`.",
        "",
        *_setting(found),
        "",
        "## Compared with the usual tools",
        "",
        *_comparisons(records),
        "",
        "## Compared with the machine's peak",
        "",
        *_peaks(records),
        "",
        "## A million stored completions",
        "",
        *_rescoring(records),
        "",
        "## What orchestration costs",
        "",
        *_orchestration(records),
        "",
        "## Whether the numbers hold",
        "",
        *_referee(records),
        "",
        "## How it was measured",
        "",
        *_method(found),
    ]
    return "\n".join(parts) + "\n"


def _setting(found: Record) -> list[str]:
    machine, versions = found["machine"], found["versions"]
    timed = [r for r in found["records"] if r["label"] != "referee"]  # which measures no time
    busiest = max((r["other_cores_busy"] for r in timed), default=0.0)
    quiet = (
        "quiet: no measurement had more than "
        if busiest <= QUIET
        else "NOT quiet, figures are disturbed: one measurement had up to "
    )
    rows = [
        ("date", found["date"]),
        ("processor", machine["cpu"]),
        (
            "cores, instructions, memory",
            f"{machine['cores']}, {machine['widest_instructions']}, {machine['memory_gib']} GiB",
        ),
        ("GPU", found["gpu"] or "no CUDA device at hand"),
        ("model", found["model"] + (" (quick: figures mean nothing)" if found["quick"] else "")),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("duration", f"{found['minutes']:.1f} minutes"),
        ("the machine was", f"{quiet}{busiest:.2f} cores busy with other work"),
    ]
    return _table(("", ""), rows)


def _comparisons(records: Sequence[Record]) -> list[str]:
    rows: list[Sequence[str]] = []
    for ours, theirs, name, bar in _pairs(records):
        mine, other = _runs(records, ours), _runs(records, theirs)
        if not mine or not other:
            rows.append((name, "—", "not measured", "—", f"≥ {bar:g} ×", "—"))
            continue
        if "completions_per_second" in mine[0]:
            unit, key, faster = "completions/s", "completions_per_second", 1
        else:
            unit, key, faster = "s a step", "seconds_per_step", -1
        ratios = [(a[key] / b[key]) ** faster for a, b in zip(mine, other, strict=False)]
        rows.append(
            (
                name,
                f"{_number(_median(mine, key))} {unit}",
                f"{_number(_median(other, key))} {unit}",
                f"**{_number(median(ratios))} ×** ({_spread(ratios)}; {len(ratios)} pairs)",
                f"≥ {bar:g} ×",
                _verdict(median(ratios) >= bar),
            )
        )
        memory = (
            "peak_device_memory_bytes"
            if "peak_device_memory_bytes" in mine[0]
            else "peak_memory_bytes"
        )
        share = _median(mine, memory) / _median(other, memory)
        step = key == "seconds_per_step"
        rows.append(
            (
                f"{name}: peak memory",
                _gigabytes(_median(mine, memory)),
                _gigabytes(_median(other, memory)),
                f"{share:.0%}",
                "≤ 60 %" if step else "—",
                _verdict(share <= 0.6) if step else "—",
            )
        )
    head = ("", "threeloops", "instead", "ratio (of each pair: median, least to most)", "bar", "")
    return _table(head, rows)


def _pairs(records: Sequence[Record]) -> list[tuple[str, str, str, float]]:
    """(our label, their label, words, bar) of every comparison that was begun."""
    labels = dict.fromkeys(record["label"] for record in records)
    pairs = []
    for label in labels:
        if label.startswith("step ours"):
            shape, where = _shape(records, label), label.removeprefix("step ours")
            for theirs, kind in (("step TRL", ""), ("step TRL as shipped", ", as shipped")):
                words = f"learning step, {shape}, against TRL's GRPOTrainer{kind}{where}"
                pairs.append((label, theirs + where, words, 15.0))
        elif label.startswith("sampler ours"):
            theirs = label.replace("ours", "generate")
            words = f"sampling {label[13:]} completions, against `model.generate`"
            pairs.append((label, theirs, words, 10.0))
    return pairs


def _peaks(records: Sequence[Record]) -> list[str]:
    peaks = [
        record["peak_operations_per_second"]
        for record in records
        if "peak_operations_per_second" in record
    ]
    rows: list[Sequence[str]] = [
        ("float32 matrix product", f"{_giga(median(peaks))} GFLOP/s", "100 %", "", "")
    ]
    named = {label: name for label, _, name, _ in reversed(_pairs(records))}
    for label, name in reversed(named.items()):
        runs = _runs(records, label)
        name = name.split(", against")[0]
        least = 0.6 if label.startswith("step") else 0.5
        for count, words, bar in (
            ("plain", "each generated token once", least),
            ("distinct", "equal beginnings once", None),
        ):
            rate = _median(runs, f"operations_per_second_{count}")
            share = _median(runs, f"fraction_of_peak_{count}")
            rows.append(_peak_row(f"{name}: {words}", rate, share, bar))
    return [
        *_table(("", "useful arithmetic", "of the peak", "bar", ""), rows),
        "",
        "The peak is measured in the same process, right after each of our runs. Only the matrix "
        "products that must be computed are counted (`bench/arithmetic_work.py`): the common "
        "prefix once, each prompt once, and the generated tokens, in two ways. The first "
        "counts each token of each completion once; it says how near our code comes to what is "
        "possible by sharing prompts alone, and it may exceed the peak. The second counts equal "
        "beginnings of one problem's completions once, as our code computes them; it says how well "
        "the machine is used. The rest of the time goes to reading weights for few tokens at a "
        "time, to activations and norms, and to the optimiser.",
    ]


def _peak_row(name: str, rate: float, share: float, bar: float | None) -> tuple[str, ...]:
    return (
        name,
        f"{_giga(rate)} GFLOP/s",
        f"{share:.0%}",
        f"≥ {bar:.0%}" if bar else "—",
        _verdict(share >= bar) if bar else "—",
    )


def _rescoring(records: Sequence[Record]) -> list[str]:
    columns, task = _runs(records, "rescore columns"), _runs(records, "rescore task")
    if not columns or not task:
        return ["not measured"]
    floor, scorer = _median(columns, "column_seconds"), _median(columns, "scorer_seconds")
    whole, memory = _median(task, "task_seconds"), _median(task, "peak_memory_bytes")
    rows = [
        ("pure column operations", f"{_number(floor)} s", "1", "", ""),
        ("`final_int@1` on the columns", f"{_number(scorer)} s", _number(scorer / floor), "", ""),
        (
            "the task `score`: read, check, score, write",
            f"{_number(whole)} s",
            _number(whole / floor),
            "≤ 10 s",
            _verdict(whole <= 10),
        ),
        (
            "peak memory of the task's process",
            _gigabytes(memory),
            "",
            "< 2 GB",
            _verdict(memory < 2e9),
        ),
    ]
    return [
        f"{task[0]['rows']:,} completions, {columns[0]['correct']:,.0f} of them right.",
        "",
        *_table(("", "median", "ratio to column operations", "bar", ""), rows),
    ]


def _orchestration(records: Sequence[Record]) -> list[str]:
    runs = _runs(records, "orchestration")
    if not runs:
        return ["not measured"]
    run = runs[0]
    asked = run["parameters"]
    pure = ", ".join(f"{name} {_number(spent)} s" for name, spent in run["pure_seconds"].items())
    share, steps = run["orchestration_share"], run["steps_orchestration_share"]
    rows = [
        (
            f"the {asked['steps']} steps",
            f"{_number(run['steps_wall_seconds'])} s",
            f"{_number(run['steps_orchestration_seconds'])} s",
            f"{steps:.1%}",
            _verdict(steps <= 0.05),
        ),
        (
            "the whole run after start-up",
            f"{_number(run['wall_seconds'])} s",
            f"{_number(run['orchestration_seconds'])} s",
            f"{share:.1%}",
            _verdict(share <= 0.05),
        ),
    ]
    return [
        f"A learning run of {asked['steps']} steps, measured on {asked['limit']} problems before "
        f"and after; start-up took {_number(run['startup_seconds'])} s. Bar: 5 %.",
        "",
        *_table(("", "wall", "Prefect, MLflow, tables", "share", ""), rows),
        "",
        f"Not orchestration: {pure}. Everything else counts as orchestration. Measuring, pictures "
        "and registering cost the same in a run of any length. So in a longer run the share of the "
        "whole run comes closer to that of its steps.",
    ]


def _referee(records: Sequence[Record]) -> list[str]:
    runs = _runs(records, "referee")
    if not runs:
        return ["not measured"]
    rows, named = [], []
    for one in runs[0]["claims"]:
        rows.append(
            (
                one["estimate"],
                one["claim"],
                one["checked"],
                f"{one['low']:.3f} to {one['high']:.3f}, median {one['middle']:.3f}",
                str(one["cells"]),
                str(len(one["outside"])),
            )
        )
        named += [f"- {one['estimate']}, {one['checked']}: {cell}" for cell in one["outside"]]
    head = ("estimate", "what is claimed", "how it was checked", "figure", "cells", "outside")
    asked = runs[0]["parameters"]["replications"]
    when = f" Run by itself on {runs[0]['date']}." if "date" in runs[0] else ""
    outside = ["", "Outside their bars are:", "", *named] if named else ["", "No cell is outside."]
    return [
        "Each estimate that the program prints is drawn many times from problems with known "
        "rates, by the program's own functions. A cell is a kind of problems, a number of them "
        "(5, 20, 60, 240 and 1,000) and of samples (1, 4, 16, 64 and unequal); "
        "`bench/referee/populations.py` lists the kinds, among them policies that differ problem "
        "by problem but not on average. Bars: an interval holds the truth in 93 % or more, a test "
        "errs in 5.5 % or less, both of a nominal 95 and 5 %. "
        f"{asked:,} measurements a cell, {5 * asked:,} where it is near its bar, and "
        f"{25 * asked:,} where it is then beyond its bar but could be so by chance.{when}",
        "",
        *_table(head, rows),
        *outside,
    ]


def _method(found: Record) -> list[str]:
    records: list[Record] = found["records"]
    cores = found["machine"]["cores"]
    lines = [
        f"- Each measurement is a fresh process with {cores} threads on both sides. Peak memory is "
        "the most that the process ever held (`ru_maxrss`).",
        "- Our runs and the others take turns. A ratio compares two runs next to each other.",
        "- Not measured: loading, and a warm-up, which is the first step of each process or two "
        "completions for two problems.",
        "- Both sides get the same model in float32, the same prompts of `few_shot_chat@1` as "
        "token ids, temperature 1 without top-k and top-p, and the same limit of new tokens.",
    ]
    theirs = _runs(records, "step TRL")
    if theirs:
        one = theirs[0]
        lines.append(
            f"- TRL: the whole batch in one pass, loss `{one['loss_type']}`, rewards scaled by "
            f"`{one['scale_rewards']}`, gradient checkpointing "
            f"{'on' if one['gradient_checkpointing'] else 'off'}, and the strict reward "
            "`final_int@1`; everything else is its default. As shipped, it also recomputes "
            "activations (gradient checkpointing), which needs less memory and more time. Ours: "
            "leave-one-out baseline, KL penalty in the reward. Both use a KL weight of 0.02 and "
            "AdamW."
        )
    batches = sorted(
        {
            (r["parameters"]["problem_count"] * r["parameters"]["samples"], r["rows_together"])
            for r in records
            if r["label"].startswith("sampler generate")
        }
    )
    for total, together in batches:
        lines.append(f"- `model.generate` decodes {together} of {total} completions together.")
    if found["failed"]:
        lines.append("- **Failed**, so not measured: " + "; ".join(found["failed"]))
    if found["left_out"]:
        lines.append(
            "- Left out, because the half hour was almost over: " + "; ".join(found["left_out"])
        )
    return lines


def _runs(records: Iterable[Record], label: str) -> list[Record]:
    return [record for record in records if record["label"] == label]


def _shape(records: Iterable[Record], label: str) -> str:
    asked = _runs(records, label)[0]["parameters"]
    return f"{asked['problem_count']} x {asked['samples']} completions"


def _median(runs: Iterable[Record], key: str) -> float:
    return float(median(run[key] for run in runs))


def _verdict(met: bool) -> str:
    return "met" if met else "missed"


def _number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _spread(values: Sequence[float]) -> str:
    return f"{_number(min(values))} to {_number(max(values))}"


def _giga(value: float) -> str:
    return _number(value / 1e9)


def _gigabytes(value: float) -> str:
    return f"{value / 1e9:.2f} GB"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
