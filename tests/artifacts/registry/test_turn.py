"""A turn in MLflow's registry is one process's, until who waits has seen it unchanged for long."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from artifacts.registry.turn import ENTRIES, RegistryTurn, turn_in_registry
from artifacts.store.process import this_process
from artifacts.store.shared.lease import SLOWER_CLOCK, read_lease
from artifacts.store.shared.objects import Found
from artifacts.tracking.archive import Archive
from schemas.errors import InputError

pytestmark = pytest.mark.slow
SECONDS = 10.0
WHERE = "MLFLOW_TRACKING_URI=http://tests"


class Hands:
    """A clock that goes only when a test moves it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class LosesAnswers(MlflowClient):
    """A registry that does what it is asked, and whose next answer is lost."""

    lost = False

    def create_registered_model(self, *words: Any, **more: Any) -> RegisteredModel:
        made = super().create_registered_model(*words, **more)
        if not self.lost:
            self.lost = True
            raise ConnectionError("the answer was lost")
        return made


class Sleeps(MlflowClient):
    """A process that sleeps after it has made its entry, until others have taken it to be dead."""

    def create_registered_model(self, name: str, *words: Any, **more: Any) -> RegisteredModel:
        made = super().create_registered_model(name, *words, **more)
        self.delete_registered_model(name)
        return made


class IsAway(MlflowClient):
    """A registry that refuses to renew anything."""

    def update_registered_model(self, *words: Any, **more: Any) -> RegisteredModel:
        raise ValueError("it is full")


class MayNotDelete(MlflowClient):
    """A user who may not delete what others made."""

    def delete_registered_model(self, name: str) -> None:
        raise MlflowException("not yours", PERMISSION_DENIED)


@pytest.fixture
def registry(archive: Archive) -> MlflowClient:
    archive.tracking.client  # noqa: B018  # it makes the database
    return MlflowClient(archive.tracking.address, archive.tracking.registry)


def like(registry: MlflowClient, kind: type[MlflowClient]) -> MlflowClient:
    return kind(registry.tracking_uri, registry._registry_uri)


def turn(
    registry: MlflowClient, clock: Hands | None = None, seconds: float = SECONDS
) -> RegistryTurn:
    return RegistryTurn(registry, "gate", WHERE, seconds=seconds, clock=clock or Hands())


def entries(registry: MlflowClient) -> list[RegisteredModel]:
    return list(registry.search_registered_models(f"name LIKE '{ENTRIES}%'"))


def test_it_is_one_holders_until_it_is_released_and_leaves_nothing(registry: MlflowClient) -> None:
    one, two = turn(registry), turn(registry)
    assert not one.try_acquire()
    assert two.try_acquire() == this_process()
    assert len(entries(registry)) == 1
    one.release()
    assert not two.try_acquire()
    assert two.still_mine()
    assert not one.still_mine()
    two.release()
    assert not entries(registry)


def test_turns_of_other_names_do_not_wait_for_it(registry: MlflowClient) -> None:
    assert not turn(registry).try_acquire()
    assert not RegistryTurn(registry, "another", WHERE).try_acquire()


def test_it_is_taken_over_after_it_was_unchanged_for_the_whole_time_and_not_before(
    registry: MlflowClient,
) -> None:
    clock = Hands()
    one, two = turn(registry), turn(registry, clock)
    assert not one.try_acquire()
    clock.now = 1000.0  # what another machine's clock says means nothing
    assert two.try_acquire()
    clock.now += SECONDS * SLOWER_CLOCK - 0.01
    assert two.try_acquire()
    clock.now += 0.02
    assert not two.try_acquire()
    assert not one.still_mine()
    one.release()
    assert two.still_mine()


def test_a_renewal_lets_the_time_begin_anew(registry: MlflowClient) -> None:
    clock = Hands()
    one, two = turn(registry), turn(registry, clock)
    assert not one.try_acquire()
    for _ in range(3):
        assert two.try_acquire()
        clock.now += SECONDS
        assert one.still_mine()
    assert two.try_acquire()


def test_of_many_who_want_it_at_once_one_has_it_at_a_time(archive: Archive) -> None:
    archive.tracking.client  # noqa: B018  # it makes the database
    inside, most = [0], []

    def enter() -> None:
        client = MlflowClient(archive.tracking.address, archive.tracking.registry)
        mine = RegistryTurn(client, "gate", WHERE)
        mine.acquire(poll=0.05)
        inside[0] += 1
        most.append(inside[0])
        time.sleep(0.05)
        inside[0] -= 1
        mine.release()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


def test_who_slept_after_it_had_made_its_entry_does_not_have_it(registry: MlflowClient) -> None:
    assert turn(like(registry, Sleeps)).try_acquire()
    assert not turn(registry).try_acquire()


def test_an_entry_whose_answer_was_lost_is_its_own(registry: MlflowClient) -> None:
    one = turn(like(registry, LosesAnswers))
    assert not one.try_acquire()
    assert one.still_mine()
    assert len(entries(registry)) == 1


def test_what_cannot_be_asked_is_said_in_one_line(registry: MlflowClient) -> None:
    one = turn(like(registry, IsAway))
    assert not one.try_acquire()
    with pytest.raises(InputError, match="whose turn it is cannot be asked: it is full") as caught:
        one.still_mine()
    assert caught.value.where == WHERE
    assert "\n" not in str(caught.value)


def test_who_may_not_delete_a_dead_entry_is_told_its_name(registry: MlflowClient) -> None:
    clock = Hands()
    assert not turn(registry).try_acquire()
    two = turn(like(registry, MayNotDelete), clock)
    assert two.try_acquire()
    clock.now += 2 * SECONDS
    (entry,) = entries(registry)
    with pytest.raises(InputError, match=r"does not allow it \(403\)") as caught:
        two.try_acquire()
    assert caught.value.remedy == f"let somebody who may delete the registered model {entry.name}"


def test_it_is_renewed_while_it_is_held(registry: MlflowClient) -> None:
    one = turn(registry, seconds=0.4)
    one.acquire()
    (before,) = entries(registry)
    time.sleep(2)
    (after,) = entries(registry)
    one.release()
    assert _beat(after) > _beat(before)


def test_the_block_of_a_connection_is_told_when_its_turn_was_taken(archive: Archive) -> None:
    client, said = archive.tracking.client, list[str]()
    with turn_in_registry(archive.tracking, "gate", said.append) as held:
        held.refuse_lost("the decision")
        (entry,) = entries(client)
        client.delete_registered_model(entry.name)
        with pytest.raises(InputError, match="the decision was not recorded: .*; run the command"):
            held.refuse_lost("the decision")
    assert said == []


def _beat(entry: RegisteredModel) -> int:
    content = (entry.description or "").encode()
    return read_lease(Found(content=content, version="")).beat
