"""A lease is one holder's, until who waits has seen it unchanged for long enough."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from artifacts.store.process import this_process
from artifacts.store.shared.bucket import BucketObjects
from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.lease import (
    SLOWER_CLOCK,
    Lease,
    Turn,
    Watch,
    held,
    lease_name,
    read_lease,
)
from artifacts.store.shared.objects import Objects
from schemas.errors import InputError

SECONDS = 10.0


class Hands:
    """A clock that goes only when a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class LosesAnswers(BucketObjects):
    """A store that does what it is asked, and says that it did not."""

    def put_if_absent(self, name: str, content: bytes) -> bool:
        super().put_if_absent(name, content)
        return False

    def replace(self, name: str, content: bytes, version: str) -> bool:
        super().replace(name, content, version)
        return False


class Refuses(BucketObjects):
    """A store that refuses the next writes over what is there, and does not answer while `away`."""

    left = 0

    def __init__(self) -> None:
        super().__init__("s3://tests/memory", MemoryStore())
        self.away = threading.Event()
        self.back = threading.Event()

    def replace(self, name: str, content: bytes, version: str) -> bool:
        if self.away.is_set():
            self.back.wait(60)
        if self.left:
            self.left -= 1
            return False
        return super().replace(name, content, version)


@pytest.fixture(params=["bucket", "folder", "answers are lost"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return FolderObjects(tmp_path)
    kind = BucketObjects if request.param == "bucket" else LosesAnswers
    return kind("s3://tests/memory", MemoryStore())


def lease(objects: Objects, clock: Hands | None = None) -> Lease:
    return Lease(objects, "gate", seconds=SECONDS, clock=clock or Hands())


def test_it_is_one_holders_until_it_is_released(objects: Objects) -> None:
    one, two, watch = lease(objects), lease(objects), Watch(Hands())
    assert one.try_acquire(Watch(Hands()))
    assert not two.try_acquire(watch)
    one.release()
    assert two.try_acquire(watch)
    assert two.still_mine()
    assert not one.still_mine()


def test_it_is_taken_over_after_it_was_unchanged_for_the_whole_time_and_not_before(
    objects: Objects,
) -> None:
    clock = Hands()
    one, two, watch = lease(objects), lease(objects, clock), Watch(clock)
    assert one.try_acquire(Watch(Hands()))
    clock.now = 1000.0  # what another machine's clock says means nothing
    assert not two.try_acquire(watch)
    clock.now += SECONDS * SLOWER_CLOCK - 0.01
    assert not two.try_acquire(watch)
    clock.now += 0.02
    assert two.try_acquire(watch)
    assert not one.still_mine()


def test_a_renewal_lets_the_time_begin_anew(objects: Objects) -> None:
    clock = Hands()
    one, two, watch = lease(objects), lease(objects, clock), Watch(clock)
    assert one.try_acquire(Watch(Hands()))
    for _ in range(3):
        assert not two.try_acquire(watch)
        clock.now += SECONDS
        assert one.still_mine()
    assert not two.try_acquire(watch)


def test_of_many_who_see_it_dead_one_takes_it(objects: Objects) -> None:
    clock = Hands()
    assert lease(objects).try_acquire(Watch(Hands()))
    others = [(lease(objects, clock), Watch(clock)) for _ in range(16)]
    for other, watch in others:
        assert not other.try_acquire(watch)
    clock.now += 2 * SECONDS
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(lambda one: one[0].try_acquire(one[1]), others))
    assert taken.count(True) == 1
    assert [other.still_mine() for other, _ in others] == taken


def test_who_has_lost_it_does_not_release_what_another_holds(objects: Objects) -> None:
    clock = Hands()
    one, two, watch = lease(objects), lease(objects, clock), Watch(clock)
    assert one.try_acquire(Watch(Hands()))
    assert not two.try_acquire(watch)
    clock.now += 2 * SECONDS
    assert two.try_acquire(watch)
    one.release()
    assert two.still_mine()
    assert not lease(objects).try_acquire(Watch(Hands()))


def test_what_cannot_be_read_is_held_until_it_was_unchanged_for_long(objects: Objects) -> None:
    clock = Hands()
    objects.put(lease_name("gate"), b"{")
    one, watch = lease(objects, clock), Watch(clock)
    assert not one.try_acquire(watch)
    clock.now += 1000
    assert one.try_acquire(watch)


def test_it_is_renewed_while_it_is_held(objects: Objects) -> None:
    one = Lease(objects, "gate", seconds=0.2)
    one.acquire()
    before = objects.get(lease_name("gate"))
    time.sleep(0.5)
    after = objects.get(lease_name("gate"))
    assert before is not None
    assert after is not None
    assert read_lease(after).beat > read_lease(before).beat
    one.release()
    assert not read_lease(objects.get(lease_name("gate")) or after).holder


def test_one_at_a_time_is_in_the_block_and_the_other_is_told_whom_it_waits_for(
    shared: Objects,
) -> None:
    said: list[str] = []
    inside: list[int] = [0]
    most: list[int] = []

    def enter() -> None:
        with held(shared, "gate", said.append):
            inside[0] += 1
            most.append(inside[0])
            until = time.monotonic() + 30
            while not said and time.monotonic() < until:  # until the other has asked who it is
                time.sleep(0.01)
            inside[0] -= 1

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1]
    assert said == [this_process()]


def test_a_lost_turn_is_refused_in_one_line() -> None:
    Turn().refuse_lost("the decision")
    with pytest.raises(InputError, match="the decision was not recorded: .*; run the command"):
        Turn(lambda: False, "THREELOOPS_STORE=s3://b").refuse_lost("the decision")


def test_it_is_renewed_again_after_the_store_has_refused_some_renewals() -> None:
    store = Refuses()
    one = Lease(store, "gate", seconds=0.4)
    one.acquire()
    store.left = 7
    until = time.monotonic() + 30
    while store.left and time.monotonic() < until:
        time.sleep(0.05)
    before = store.get(lease_name("gate"))
    assert before is not None
    newest = before
    while time.monotonic() < until and read_lease(newest).beat <= read_lease(before).beat:
        time.sleep(0.05)
        after = store.get(lease_name("gate"))
        assert after is not None
        newest = after
    assert (store.left, newest.version != before.version) == (0, True)
    assert one.still_mine()
    one.release()


def test_a_store_that_does_not_answer_is_not_waited_for_when_a_lease_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Refuses()
    one = Lease(store, "gate", seconds=SECONDS)
    one.acquire()
    store.away.set()
    began = time.monotonic()
    one.release(seconds=0.2)
    assert time.monotonic() - began < 5
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "warning: THREELOOPS_STORE=s3://tests/memory does not answer: the lease of this process "
        "there was not ended, and ends by itself within 11 seconds"
    )
    store.back.set()
    until = time.monotonic() + 10
    while time.monotonic() < until and _holder(store):
        time.sleep(0.05)
    assert _holder(store) == "", "it answered after all"


def _holder(objects: Objects) -> str:
    found = objects.get(lease_name("gate"))
    assert found is not None
    return read_lease(found).holder
