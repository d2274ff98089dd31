"""Which process of several this one is, by what torchrun and srun set; half of it is refused."""

from __future__ import annotations

import pytest

from policy.parallel.place import (
    Place,
    is_follower,
    of_one_rank,
    place_in,
    with_ranks,
)
from schemas.errors import InputError

MEETING = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}
TORCHRUN = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", **MEETING}
SRUN = {
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    **MEETING,
}


def test_a_process_of_torchrun_knows_its_place_on_its_host_too() -> None:
    assert place_in(TORCHRUN) == Place(rank=3, size=4, local_rank=1, local_size=2)


def test_a_task_of_srun_knows_its_place() -> None:
    assert place_in(SRUN) == Place(rank=3, size=5, local_rank=1, local_size=2)
    last = SRUN | {"SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "2"}
    assert place_in(last) == Place(rank=4, size=5, local_rank=0, local_size=1)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WORLD_SIZE": "1", "RANK": "0", **MEETING},
        {"WORLD_SIZE": ""},
        {"SLURM_STEP_NUM_TASKS": "1"},
        # the script of sbatch, which no srun started
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"},
    ],
)
def test_one_process_is_alone(environment: dict[str, str]) -> None:
    assert place_in(environment) is None


def without(name: str, given: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in given.items() if key != name}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        (without("MASTER_ADDR", TORCHRUN), "WORLD_SIZE=4 without MASTER_ADDR: "),
        (without("MASTER_PORT", TORCHRUN), "WORLD_SIZE=4 without MASTER_PORT: "),
        (without("RANK", TORCHRUN), "WORLD_SIZE=4 without RANK: "),
        (without("MASTER_ADDR", SRUN), "SLURM_STEP_NUM_TASKS=5 without MASTER_ADDR: "),
        (TORCHRUN | {"WORLD_SIZE": "four"}, "WORLD_SIZE=four: is not a whole number of 1"),
        (TORCHRUN | {"WORLD_SIZE": "0"}, "WORLD_SIZE=0: is not a whole number of 1"),
        (TORCHRUN | {"RANK": "-1"}, "RANK=-1: is not a whole number"),
        (TORCHRUN | {"RANK": "4"}, "RANK=4: there are 4 processes, and they count from 0"),
        (TORCHRUN | {"MASTER_PORT": "99999"}, "MASTER_PORT=99999: is no port"),
    ],
)
def test_what_cannot_be_is_said_in_one_line_with_what_to_do(
    environment: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        place_in(environment)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
    assert "torchrun" in str(caught.value) or "export MASTER_ADDR=" in str(caught.value)


def test_only_a_learner_that_is_not_the_first_follows() -> None:
    assert is_follower(TORCHRUN, ["learn", "--steps", "3"])
    assert not is_follower(TORCHRUN, ["eval"])
    assert not is_follower(TORCHRUN | {"RANK": "0"}, ["learn"])
    assert not is_follower({}, ["learn"])


def test_what_is_wrong_for_all_is_told_by_the_first_alone() -> None:
    broken = without("MASTER_ADDR", TORCHRUN)
    assert is_follower(broken, ["learn"])
    assert not is_follower(broken | {"RANK": "0"}, ["learn"])


def test_numerics_say_how_many_computed_together() -> None:
    one = "cpu float32 x86_64 AVX2 1 thread"
    both = with_ranks([one, one])
    assert both == "cpu float32 x86_64 AVX2 1 thread, 2 ranks"
    assert of_one_rank(both) == one
    mixed = with_ranks([one, "cpu float32 x86_64 AVX512 1 thread", one])
    assert of_one_rank(mixed) == one
