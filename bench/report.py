"""docs/benchmarks.md and docs/benchmarks.json from the records of a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.cells import gigabytes, middle, number, records_of, table, verdict
from bench.compared import comparisons, peaks
from bench.on_gpu import section
from bench.process import Record

RAW = "benchmarks.json"
HIDDEN = ("tables",)  # records that measure nothing
QUIET = 0.15  # cores busy with other work, above which a figure is called disturbed


def write_report(found: Record, folder: Path) -> Path:
    """Write both files and return the path of the readable one."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [record for record in found["records"] if record["label"] not in HIDDEN]
    raw = found | {"records": kept}
    (folder / RAW).write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
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
        *comparisons(records),
        "",
        "## Compared with the machine's peak",
        "",
        *peaks(records, products="float32"),
        "",
        "The peak is measured in the same process, right after each of our runs. Only the matrix "
        "products that must be computed are counted (`bench/arithmetic_work.py`): the common "
        "prefix once, each prompt once, and the generated tokens, in two ways. The first "
        "counts each token of each completion once; it says how near our code comes to what is "
        "possible by sharing prompts alone, and it may exceed the peak. The second counts equal "
        "beginnings of one problem's completions once, as our code computes them; it says how well "
        "the machine is used. The rest of the time goes to reading weights for few tokens at a "
        "time, to activations and norms, and to the optimiser.",
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
        *(section(found["on_gpu"]) if "on_gpu" in found else ()),
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
    return table(("", ""), rows)


def _rescoring(records: Sequence[Record]) -> list[str]:
    columns, task = records_of(records, "rescore columns"), records_of(records, "rescore task")
    if not columns or not task:
        return ["not measured"]
    floor, scorer = middle(columns, "column_seconds"), middle(columns, "scorer_seconds")
    whole, memory = middle(task, "task_seconds"), middle(task, "peak_memory_bytes")
    rows = [
        ("pure column operations", f"{number(floor)} s", "1", "", ""),
        ("`final_int@1` on the columns", f"{number(scorer)} s", number(scorer / floor), "", ""),
        (
            "the task `score`: read, check, score, write",
            f"{number(whole)} s",
            number(whole / floor),
            "≤ 10 s",
            verdict(whole <= 10),
        ),
        (
            "peak memory of the task's process",
            gigabytes(memory),
            "",
            "< 2 GB",
            verdict(memory < 2e9),
        ),
    ]
    return [
        f"{task[0]['rows']:,} completions, {columns[0]['correct']:,.0f} of them right.",
        "",
        *table(("", "median", "ratio to column operations", "bar", ""), rows),
    ]


def _orchestration(records: Sequence[Record]) -> list[str]:
    runs = records_of(records, "orchestration")
    if not runs:
        return ["not measured"]
    run = runs[0]
    asked = run["parameters"]
    pure = ", ".join(f"{name} {number(spent)} s" for name, spent in run["pure_seconds"].items())
    share, steps = run["orchestration_share"], run["steps_orchestration_share"]
    rows = [
        (
            f"the {asked['steps']} steps",
            f"{number(run['steps_wall_seconds'])} s",
            f"{number(run['steps_orchestration_seconds'])} s",
            f"{steps:.1%}",
            verdict(steps <= 0.05),
        ),
        (
            "the whole run after start-up",
            f"{number(run['wall_seconds'])} s",
            f"{number(run['orchestration_seconds'])} s",
            f"{share:.1%}",
            verdict(share <= 0.05),
        ),
    ]
    return [
        f"A learning run of {asked['steps']} steps, measured on {asked['limit']} problems before "
        f"and after; start-up took {number(run['startup_seconds'])} s. Bar: 5 %.",
        "",
        *table(("", "wall", "Prefect, MLflow, tables", "share", ""), rows),
        "",
        f"Not orchestration: {pure}. Everything else counts as orchestration. Measuring, pictures "
        "and registering cost the same in a run of any length. So in a longer run the share of the "
        "whole run comes closer to that of its steps.",
    ]


def _referee(records: Sequence[Record]) -> list[str]:
    runs = records_of(records, "referee")
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
        *table(head, rows),
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
    theirs = records_of(records, "step TRL")
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
