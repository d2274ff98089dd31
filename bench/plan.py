"""Which measurements make a bench run, in which order, and how often; whole or quick.

A round runs every pair of its comparisons once, ours and theirs in turn, so that
a machine that changes its pace meanwhile changes it for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
TRL = "trl_step"


@dataclass(frozen=True)
class Job:
    """One measurement: `bench.BENCHMARK` with these parameters, for the report's `label`.

    `needs` names a job whose record holds parameters of this one.
    """

    label: str
    benchmark: str
    parameters: Record
    needs: str | None = None


@dataclass(frozen=True)
class Series:
    """Jobs that belong together, run once in each of the first `rounds` rounds."""

    jobs: tuple[Job, ...]
    rounds: int = 1


def comparisons(folder: str, device: str, sizes: Record) -> list[Series]:
    """Ours beside `generate` and beside TRL, on one device."""
    where = "" if device == "cpu" else f" on {device}"
    given = {"folder": folder, "new_tokens": sizes["new_tokens"], "seed": 1, "device": device}
    shape = {"problem_count": sizes["step"][0], "samples": sizes["step"][1]}
    series = [
        Series(
            (
                Job("step ours" + where, "train_step", given | shape | {"steps": sizes["steps"]}),
                Job("step TRL" + where, TRL, given | shape | {"steps": 2}),
            ),
            sizes["step_rounds"],
        ),
        Series(
            (Job("step TRL as shipped" + where, TRL, given | shape | {"checkpointing": True}),),
        ),
    ]
    for problems, samples, rows, rounds in sizes["sampler"]:
        drawn = given | {"problem_count": problems, "samples": samples}
        label = f"{problems} x {samples}{where}"
        series.append(
            Series(
                (
                    Job(f"sampler ours {label}", "sampler", drawn | {"side": "ours"}),
                    Job(
                        f"sampler generate {label}",
                        "sampler",
                        drawn | {"side": "generate", "rows": rows},
                    ),
                ),
                rounds,
            )
        )
    return series


def whole_plan(folder: str, devices: list[str]) -> list[Series]:
    """Everything, on the real model."""
    sizes = {
        "new_tokens": 10,
        "step": (8, 8),
        "steps": 4,
        "step_rounds": 3,
        # problems, samples, rows that `generate` decodes together, rounds
        "sampler": [(48, 4, 192, 5), (64, 16, 512, 2)],
    }
    series = [Series((Job("peak", "matmul", {}),), 5)]
    for device in devices:
        series += comparisons(folder, device, sizes)
    learning = {"folder": folder, "steps": 20, "limit": 32}
    return [
        *series,
        *rescoring(1_000_000, rounds=3),
        Series((Job("orchestration", "orchestration", learning),)),
        Series((Job("referee", "referee", {"replications": 1000, "seed": 0}),)),
    ]


def quick_plan(folder: str, trl: bool) -> list[Series]:
    """Every benchmark once, so small that only the code is tested, not the speed."""
    sizes = {
        "new_tokens": 4,
        "step": (2, 2),
        "steps": 2,
        "step_rounds": 1,
        "sampler": [(3, 2, 6, 1)],
    }
    learning = {
        "folder": folder,
        "steps": 2,
        "limit": 2,
        "problems_per_step": 2,
        "samples": 2,
        "new_tokens": 4,
        "served": False,
    }
    series = [
        Series((Job("peak", "matmul", {"seconds": 0.05}),)),
        *comparisons(folder, "cpu", sizes),
        *rescoring(800, rounds=1),
        Series((Job("orchestration", "orchestration", learning),)),
        Series(
            (Job("referee", "referee", {"replications": 8, "seed": 0, "problems": [5, 20]}),),
        ),
    ]
    if trl:
        return series
    ours = [Series(tuple(j for j in s.jobs if j.benchmark != TRL), s.rounds) for s in series]
    return [s for s in ours if s.jobs]


def rescoring(rows: int, rounds: int) -> list[Series]:
    """The tables, once; then the columns alone and the task, whose verdicts nobody has yet."""
    tables = Job("tables", "completions_tables", {"rows": rows})
    scored = (
        Job("rescore columns", "rescore", {"through": "columns"}, needs="tables"),
        Job("rescore task", "rescore", {"through": "task"}, needs="tables"),
    )
    return [Series((tables,)), Series(scored, rounds)]
