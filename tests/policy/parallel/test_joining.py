"""Whatever becomes of one of several processes, the others end within a minute and say why once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from policy.parallel import join
from policy.parallel.place import Place
from policy.parallel.told import packed, unpacked
from schemas.errors import InputError, RanksError, StoreError
from tests.policy.parallel.forked import ended_ranks
from tests.ranks import Ended

FAULT_SECONDS = 5.0  # of the tests: a process on a busy machine is late by less


def scene(name: str, folder: Path, ranks: int = 2, **given: Any) -> list[Ended]:
    return ended_ranks(name, folder, ranks, **{"fault_seconds": FAULT_SECONDS, **given})


def only_line(ended: list[Ended]) -> str:
    """What all processes together say in the program's words, which is one line."""
    said = [line for one in ended for line in one.err.splitlines()]
    assert not any("Traceback" in line for line in said), said
    own = [line.removeprefix("threeloops: ") for line in said]
    (line,) = [line for line in own if line.startswith("rank ")]
    return line


# Where a process is traced for the coverage, Python 3.11 may do nothing but ask for a signal that
# the main thread does not take. Who waits for a frozen one is tested by `make test-engines`.
@pytest.mark.parametrize("how", ["SIGKILL", pytest.param("SIGSTOP", marks=pytest.mark.engines)])
@pytest.mark.parametrize(
    ("who", "moment"),
    [(0, "init_process_group"), (1, "init_process_group"), (1, "resolve_device")],
)
def test_a_process_that_is_gone_or_hangs_while_the_group_forms_ends_the_other_with_one_line(
    tmp_path: Path, who: int, how: str, moment: str
) -> None:
    began = time.monotonic()
    ended = scene("failure", tmp_path, who=who, dies=moment, how=how)
    assert ended[1 - who].at - began < 10 * FAULT_SECONDS
    assert ended[1 - who].code == 1
    line = only_line(ended)
    assert line.startswith(f"rank {who} (process ")
    assert how == "SIGSTOP" or line.endswith("and run the same command again")
    assert not (tmp_path / "told-0.json").exists()


@pytest.mark.parametrize(
    ("who", "moment"), [(0, "init_process_group"), (1, "init_process_group"), (1, "resolve_device")]
)
def test_a_process_that_is_gone_before_it_was_watched_is_named_all_the_same(
    tmp_path: Path, who: int, moment: str
) -> None:
    ended = scene("failure", tmp_path, who=who, dies=moment, how="SIGKILL", late=2.0)
    assert only_line(ended).startswith(f"rank {who} (process ")


def test_a_process_that_cannot_take_part_is_named_by_the_first_with_all_that_it_says(
    tmp_path: Path,
) -> None:
    ended = scene("failure", tmp_path, refuses={"1": ["cannot be read", "/its/folder", "do that"]})
    assert ended[0].code == 2
    line = only_line(ended)
    assert line.startswith("rank 1 (process ")
    assert line.endswith(": /its/folder: cannot be read; do that")


def test_where_the_first_cannot_take_part_the_others_do_not_wait_for_it(tmp_path: Path) -> None:
    began = time.monotonic()
    ended = scene("failure", tmp_path, 3, refuses={"0": None, "2": ["is not", "there", "go"]})
    assert time.monotonic() - began < 10 * FAULT_SECONDS
    assert [one.err for one in ended] == [""] * 3, "it has said why, before"
    assert not (tmp_path / "told-0.json").exists()


@pytest.mark.parametrize("inside", [True, False])
def test_the_first_tells_the_whole_text_of_the_error_of_another_and_whose_it_is(
    tmp_path: Path, inside: bool
) -> None:
    ended = scene("words", tmp_path, 3, who=2, inside=inside)
    told = ended[0].err.splitlines()
    assert ended[0].code == 1
    (line,) = told
    assert line.startswith("rank 2 (process ")
    assert " failed: ValueError: first line second line" in line
    assert ended[1].err == ""


def test_a_connection_that_broke_while_torch_waits_is_told_as_the_process_that_has_gone(
    tmp_path: Path,
) -> None:
    ended = scene("waits", tmp_path, 3, who=2, how="SIGKILL")
    assert ended[0].code == 1
    line = only_line(ended)
    assert line.startswith("rank 2 (process ")
    assert "nothing was heard of it for 5 seconds" in line


def test_an_error_that_was_told_is_of_the_same_kind_and_has_its_process_in_front() -> None:
    told = unpacked(packed(StoreError("is gone", "table 5", "look"), "rank 3 (process 7 on node2)"))
    assert type(told) is StoreError
    assert str(told) == "rank 3 (process 7 on node2): table 5: is gone; look"
    other = unpacked(packed(InputError("no place"), "rank 1"))
    assert str(other) == "rank 1: no place"
    defect = unpacked(packed(KeyError("a\nb"), "rank 1"))
    assert isinstance(defect, RanksError)


class Gpus:
    """GPUs as CUDA_VISIBLE_DEVICES shows them to a process."""

    def __init__(self, *uuids: str) -> None:
        self.uuids, self.taken = uuids, -1

    def device_count(self) -> int:
        return len(self.uuids)

    def set_device(self, index: int) -> None:
        self.taken = index

    def get_device_properties(self, index: int) -> Any:
        return type("Properties", (), {"uuid": self.uuids[index]})


Says = Callable[..., tuple[str, str, str] | None]


@pytest.fixture
def fault_of(monkeypatch: pytest.MonkeyPatch) -> Says:
    """Why processes of one host cannot work together, each of which sees some GPUs."""

    def found(*seen: Gpus) -> tuple[str, str, str] | None:
        hellos = []
        for rank, gpus in enumerate(seen):
            monkeypatch.setattr(torch, "cuda", gpus)
            own = join._own_gpu(Place(rank, len(seen), rank, len(seen)))
            hellos.append({"host": "node", "kind": "cuda", "gpu": own, "identity": {}})
        return join._fault(hellos)

    return found


def test_each_process_takes_the_gpu_of_its_place_or_the_one_that_it_is_shown(
    fault_of: Says,
) -> None:
    both = [Gpus("GPU-a", "GPU-b"), Gpus("GPU-a", "GPU-b")]
    assert fault_of(*both) is None
    assert [one.taken for one in both] == [0, 1]
    assert fault_of(Gpus("GPU-a"), Gpus("GPU-b")) is None


@pytest.mark.parametrize(
    "seen",
    [
        [Gpus("GPU-a"), Gpus("GPU-a")],
        [Gpus("GPU-a", "GPU-b"), Gpus("GPU-b", "GPU-a")],
    ],
)
def test_two_processes_that_use_one_gpu_are_refused_whatever_its_index(
    fault_of: Says, seen: list[Gpus]
) -> None:
    fault = fault_of(*seen)
    assert fault is not None
    what, where, remedy = fault
    assert (what, where) == ("has the same GPU as rank 0 (UUID GPU-a)", "rank 1 on node")
    assert remedy.startswith("start one process for each GPU of a host")
