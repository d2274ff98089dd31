"""Which measurements make a bench run, in which order, and how often; whole or quick.

A round runs every pair of its comparisons once, ours and theirs in turn, so that
a machine that changes its pace meanwhile changes it for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]
TRL = "trl_step"
QUICK: Record = {
    "new_tokens": 4,
    "step": (2, 2),
    "steps": 2,
    "their_steps": 2,
    "step_rounds": 1,
    "repeats": 1,
    "sampler": [(3, 2, 6, 1)],
}


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
    given = {"folder": folder, "new_tokens": sizes["new_tokens"], "seed": 1, "device": device}
    shape = {"problem_count": sizes["step"][0], "samples": sizes["step"][1]}
    series = [
        Series(
            (
                Job("step ours", "train_step", given | shape | {"steps": sizes["steps"]}),
                Job("step TRL", TRL, given | shape | {"steps": sizes["their_steps"]}),
            ),
            sizes["step_rounds"],
        ),
        Series(
            (
                Job(
                    "step TRL as shipped",
                    TRL,
                    given | shape | {"steps": sizes["their_steps"], "checkpointing": True},
                ),
            ),
        ),
    ]
    for problems, samples, rows, rounds in sizes["sampler"]:
        drawn = given | {"problem_count": problems, "samples": samples}
        drawn |= {"repeats": sizes["repeats"]}
        label = f"{problems} x {samples}"
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


def whole_plan(folder: str) -> list[Series]:
    """Everything, on the real model and the CPU."""
    sizes = {
        "new_tokens": 10,
        "step": (8, 8),
        "steps": 4,
        "their_steps": 2,
        "step_rounds": 3,
        "repeats": 1,
        # problems, samples, rows that `generate` decodes together, rounds
        "sampler": [(48, 4, 192, 5), (64, 16, 512, 2)],
    }
    learning = {"folder": folder, "steps": 20, "limit": 32}
    return [
        Series((Job("peak", "matmul", {}),), 5),
        *comparisons(folder, "cpu", sizes),
        *rescoring(1_000_000, rounds=3),
        Series((Job("orchestration", "orchestration", learning),)),
        Series((Job("referee", "referee", {"replications": 1000, "seed": 0}),)),
    ]


def gpu_plan(folder: str, device: str = "cuda") -> list[Series]:
    """The comparisons on a GPU, where a process starts for longer than it computes."""
    sizes = {
        "new_tokens": 10,
        "step": (16, 8),
        "steps": 6,
        "their_steps": 6,
        "step_rounds": 3,
        "repeats": 5,
        "sampler": [(48, 4, 192, 3), (64, 16, 1024, 3)],
    }
    return [agreement(folder, device, 48, 4, 10), *comparisons(folder, device, sizes)]


def quick_gpu_plan(folder: str, device: str = "cuda") -> list[Series]:
    """`gpu_plan`, so small that only the code is tested."""
    return [agreement(folder, device, 3, 2, 4), *comparisons(folder, device, QUICK)]


def agreement(
    folder: str, device: str, problem_count: int, samples: int, new_tokens: int
) -> Series:
    """How far the device's log-probabilities are from those of float32 on the CPU."""
    given = {"folder": folder, "device": device, "new_tokens": new_tokens, "seed": 1}
    shape = {"problem_count": problem_count, "samples": samples}
    return Series((Job("agreement", "agreement", given | shape),))


def without_trl(plan: list[Series]) -> list[Series]:
    """The plan for a machine on which TRL is not installed."""
    ours = [Series(tuple(j for j in s.jobs if j.benchmark != TRL), s.rounds) for s in plan]
    return [s for s in ours if s.jobs]


def quick_plan(folder: str) -> list[Series]:
    """Every benchmark once, so small that only the code is tested, not the speed."""
    learning = {
        "folder": folder,
        "steps": 2,
        "limit": 2,
        "problems_per_step": 2,
        "samples": 2,
        "new_tokens": 4,
        "served": False,
    }
    return [
        Series((Job("peak", "matmul", {"seconds": 0.05}),)),
        *comparisons(folder, "cpu", QUICK),
        *rescoring(800, rounds=1),
        Series((Job("orchestration", "orchestration", learning),)),
        Series(
            (Job("referee", "referee", {"replications": 8, "seed": 0, "problems": [5, 20]}),),
        ),
    ]


def rescoring(rows: int, rounds: int) -> list[Series]:
    """The tables, once; then the columns alone and the task, whose verdicts nobody has yet."""
    tables = Job("tables", "completions_tables", {"rows": rows})
    scored = (
        Job("rescore columns", "rescore", {"through": "columns"}, needs="tables"),
        Job("rescore task", "rescore", {"through": "task"}, needs="tables"),
    )
    return [Series((tables,)), Series(scored, rounds)]
