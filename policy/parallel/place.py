"""Which of several processes this one is, as torchrun or srun say it in the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.errors import InputError

TORCHRUN = "torchrun --nproc-per-node N -m threeloops learn"


@dataclass(frozen=True)
class Place:
    """Process `rank` of `size`, and of those on this host `local_rank` of `local_size`.

    All count from 0. Rank 0 leads.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    @property
    def leads(self) -> bool:
        """Whether this is the process that has Prefect, MLflow and the store."""
        return self.rank == 0


def place_in(environment: Mapping[str, str]) -> Place | None:
    """The place of this process among those that learn together; None where it is alone.

    torchrun sets WORLD_SIZE and RANK; srun sets variables of its own, and then MASTER_ADDR and
    MASTER_PORT must say where the processes meet. Raises InputError for half of the variables, and
    for values that cannot be.
    """
    if environment.get("WORLD_SIZE"):
        place = _of_torchrun(environment)
        remedy = f"start them with {TORCHRUN}, or set MASTER_ADDR and MASTER_PORT"
        said = f"WORLD_SIZE={environment['WORLD_SIZE']}"
    elif environment.get("SLURM_STEP_NUM_TASKS"):
        place = _of_srun(environment)
        remedy = (
            'before srun: export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | '
            "head -n 1) MASTER_PORT=29500"
        )
        said = f"SLURM_STEP_NUM_TASKS={environment['SLURM_STEP_NUM_TASKS']}"
    else:
        return None
    if place.size == 1:
        return None
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not environment.get(name):
            what = f"{place.size} processes are to learn together, and not told where they meet"
            raise InputError(what, f"{said} without {name}", remedy)
    if not 0 < _number(environment, "MASTER_PORT") < 2**16:
        raise InputError("is no port", f"MASTER_PORT={environment['MASTER_PORT']}", remedy)
    return place


def is_follower(environment: Mapping[str, str], words: Sequence[str]) -> bool:
    """Whether the command of these words is `learn`, in a process that follows another.

    What is wrong with the variables is said by `place_in`.
    """
    try:
        place = place_in(environment) if [*words[:1]] == ["learn"] else None
    except InputError:
        rank = environment.get("RANK") or environment.get("SLURM_PROCID") or "0"
        return rank.strip("0") != ""
    return place is not None and not place.leads


def with_ranks(computed_by: Sequence[str]) -> str:
    """What several processes compute together, from the numerics of each (`policy.model.numerics`).

    Numerics that are equal are named once.
    """
    return f"{' + '.join(dict.fromkeys(computed_by))}, {len(computed_by)} ranks"


def of_one_rank(computed_by: str) -> str:
    """The numerics of rank 0 alone."""
    return computed_by.partition(", ")[0].partition(" + ")[0]


def _of_torchrun(environment: Mapping[str, str]) -> Place:
    size = _number(environment, "WORLD_SIZE", least=1)
    if size > 1 and not environment.get("RANK"):
        what = f"this is one of {size} processes, and not told which"
        said = f"WORLD_SIZE={size} without RANK"
        raise InputError(what, said, f"start them with {TORCHRUN}")
    rank = _number(environment, "RANK", default=0)
    # started by hand, without the two, all are taken to be on one host
    return _checked(
        Place(
            rank,
            size,
            _number(environment, "LOCAL_RANK", default=rank),
            _number(environment, "LOCAL_WORLD_SIZE", default=size, least=1),
        ),
        "RANK",
    )


def _of_srun(environment: Mapping[str, str]) -> Place:
    size = _number(environment, "SLURM_STEP_NUM_TASKS", least=1)
    tasks = _tasks_a_node(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
    node = _number(environment, "SLURM_NODEID", default=0)
    here = tasks[node] if node < len(tasks) else size
    rank = _number(environment, "SLURM_PROCID", default=0)
    local = _number(environment, "SLURM_LOCALID", default=rank)
    return _checked(Place(rank, size, local, here), "SLURM_PROCID")


def _checked(place: Place, name: str) -> Place:
    if place.rank >= place.size:
        what = f"there are {place.size} processes, and they count from 0"
        raise InputError(what, f"{name}={place.rank}", f"start them with {TORCHRUN}")
    return place


def _tasks_a_node(text: str) -> list[int]:
    """Tasks on each node, from Slurm's `2(x3),1`."""
    tasks: list[int] = []
    for part in text.split(","):
        if found := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part):
            tasks += [int(found.group(1))] * int(found.group(2) or 1)
    return tasks


def _number(
    environment: Mapping[str, str], name: str, *, default: int | None = None, least: int = 0
) -> int:
    text = environment.get(name) or ("" if default is None else str(default))
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) < least:
        raise InputError(
            f"is not a whole number of {least} or more",
            f"{name}={text}",
            f"start the processes with {TORCHRUN}, which sets it",
        )
    return int(text)
