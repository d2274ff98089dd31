"""A process of another machine is gone when its lease has not changed for its whole time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from artifacts.store.process import is_elsewhere, this_process
from artifacts.store.shared import owners as module
from artifacts.store.shared.lease import SECONDS, SLOWER_CLOCK, Lease, Watch, lease_name
from artifacts.store.shared.objects import Objects
from artifacts.store.shared.owners import Owners, owner_lease

FAR = "another-machine:4026531836 77 12.0"


class Hands:
    """A clock that goes only when a test moves it."""

    now = 500.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def far(shared: Objects) -> Lease:
    """The lease of a process of another machine."""
    lease = Lease(shared, owner_lease(FAR))
    assert lease.try_acquire(Watch())
    return lease


def test_what_one_command_saw_the_next_one_knows(
    shared: Objects, far: Lease, tmp_path: Path
) -> None:
    clock = Hands()

    def is_gone() -> bool:  # a command of its own each time
        return Owners(shared, tmp_path / "notes.json", clock).is_gone(FAR, owner_lease(FAR))

    assert not is_gone()
    clock.now += SECONDS * SLOWER_CLOCK - 0.1
    assert not is_gone()
    assert far.still_mine()
    clock.now += 0.2
    assert not is_gone()
    clock.now += SECONDS * SLOWER_CLOCK + 0.1
    assert is_gone()


def test_after_a_new_start_of_the_machine_the_time_begins_anew(
    shared: Objects, far: Lease, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, notes = Hands(), tmp_path / "notes.json"
    assert not Owners(shared, notes, clock).is_gone(FAR, owner_lease(FAR))
    clock.now += 10 * SECONDS
    monkeypatch.setattr(module, "_boot", lambda: "another start")
    assert not Owners(shared, notes, clock).is_gone(FAR, owner_lease(FAR))
    notes.write_text("{")
    assert not Owners(shared, notes, clock).is_gone(FAR, owner_lease(FAR))


def test_of_a_process_without_a_lease_here_nothing_is_known(
    shared: Objects, tmp_path: Path
) -> None:
    owners = Owners(shared, tmp_path / "notes.json")
    assert not owners.is_gone(FAR, owner_lease(FAR))
    assert not owners.is_gone(FAR, "")
    assert not owners.is_gone(this_process(), owner_lease(this_process()))
    assert not (tmp_path / "notes.json").exists()
    assert is_elsewhere(FAR)
    assert not is_elsewhere(this_process())
    assert not is_elsewhere("")


def test_a_lease_of_an_owner_before_says_nothing_of_this_one(
    shared: Objects, far: Lease, tmp_path: Path
) -> None:
    clock = Hands()
    owners = Owners(shared, tmp_path / "notes.json", clock)
    for _ in range(2):
        assert not owners.is_gone("a-third-machine:1 5 1.0", owner_lease(FAR))
        clock.now += 10 * SECONDS


def test_a_process_keeps_one_lease_until_it_leaves(shared: Objects, tmp_path: Path) -> None:
    owners = Owners(shared, tmp_path / "notes.json")
    assert owners.live() == owners.live() == owner_lease(this_process())
    assert shared.list("leases") == [lease_name(owner_lease(this_process()))]
    owners.leave()
    owners.leave()
    assert shared.list("leases") == []


def test_two_data_folders_of_one_process_have_one_lease(shared: Objects, tmp_path: Path) -> None:
    one, two = (Owners(shared, tmp_path / name) for name in ("one.json", "two.json"))
    assert one.live() == two.live()
    two.leave()
    assert len(shared.list("leases")) == 1
    one.leave()
    assert two.live() == owner_lease(this_process())
    two.leave()
    assert shared.list("leases") == []


def test_who_leaves_waits_a_moment_for_a_store_that_does_not_answer(
    shared: Objects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    owners, answers = Owners(shared, tmp_path / "notes.json"), threading.Event()
    owners.live()
    monkeypatch.setattr(shared, "replace", lambda *arguments: answers.wait(60))
    began = time.monotonic()
    owners.leave(seconds=0.2)
    assert time.monotonic() - began < 5
    assert len(caplog.records) == 1
    assert "does not answer" in caplog.text
    answers.set()
