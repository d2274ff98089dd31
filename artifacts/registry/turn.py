"""A turn across machines that share MLflow's registry: an entry of one's own, which others see.

Who wants the turn makes an entry, a registered model without versions, and looks. Where there is
no other, the turn is its own; otherwise it takes the entry back and waits. Of two who look at once
both may see the other, and neither has the turn; that both see none cannot be.

An entry that was not renewed for its whole time, by the clock of one who waits, is deleted. Its
name is no other's, so who was only asleep finds that it is gone.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

from artifacts.store.process import this_process
from artifacts.store.shared.lease import (
    LEAVING,
    POLL,
    RENEWALS,
    SECONDS,
    SLOWER_CLOCK,
    Clock,
    Turn,
    Watch,
    Written,
    read_lease,
)
from artifacts.store.shared.objects import Found
from artifacts.store.shared.renewing import Renewing
from artifacts.tracking.connection import Tracking
from artifacts.unsent.answers import UnreachableError, asked
from artifacts.unsent.calls import MISSING
from artifacts.unsent.refusals import in_one_line
from schemas.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

T = TypeVar("T")
ENTRIES = "threeloops.turn."  # what the names of all entries begin with
MOST = 1000  # entries of one turn: MLflow gives so many at once
PATIENCE = 20.0  # seconds in which a registry that does not answer is asked again


class RegistryTurn:
    """One name that one process holds at a time, and renews in a thread until it is released.

    `registry` is a client that keeps nothing for later. `where` says in messages which it is.
    """

    def __init__(
        self,
        registry: MlflowClient,
        name: str,
        where: str,
        *,
        seconds: float = SECONDS,
        clock: Clock = time.monotonic,
    ) -> None:
        self._registry = registry
        self._prefix = f"{ENTRIES}{name}."
        self._where = where
        self._seconds = seconds
        self._clock = clock
        self._watches: dict[str, Watch] = {}
        self._entry = ""
        self._beat = 0
        self._lost = False
        self._renewing = Renewing(
            seconds / RENEWALS, seconds * SLOWER_CLOCK, self.still_mine, self._is_lost, self._free
        )

    def acquire(
        self, on_wait: Callable[[str], None] = lambda holder: None, *, poll: float = POLL
    ) -> None:
        """Wait until it is this process's; `on_wait` is told once who holds it."""
        told = False
        while holder := self.try_acquire():
            if not told:
                on_wait(holder)
                told = True
            time.sleep(poll * random.Random().uniform(0.5, 1.5))  # two who meet do not meet again
        self._renewing.begin(self._entry)

    def try_acquire(self) -> str:
        """Take it if nobody else has an entry; who has one, or empty where it is held now.

        An entry that was seen unchanged for too long is deleted. Nothing renews this one's.
        """
        if other := self._other(self._look()):
            return other
        self._entry = f"{self._prefix}{uuid4().hex}"
        try:
            self._ask(self._announce)
            found = self._look()
            other = self._other(found)
            # it may be gone: who sleeps here for long is taken to be dead
            mine = any(one.name == self._entry for one in found)
        except BaseException:
            self._free()
            raise
        if other or not mine:
            self._free()
        return other or ("" if mine else "another process")

    def still_mine(self) -> bool:
        """Renew it now; True if nobody else can have it before its time is over once more.

        Raises InputError where the registry cannot be asked.
        """
        if not self._lost and not self._ask(self._renew):
            self._lost = True
        return not self._lost

    def release(self, seconds: float = LEAVING) -> None:
        """Let the next one have it. Never raises; a registry that is away is waited for so long."""
        self._renewing.end(self._where, seconds)

    def _look(self) -> list[RegisteredModel]:
        """Every entry there is; those that are dead are deleted first."""
        asked_at = self._clock()
        found = self._ask(
            lambda again: self._registry.search_registered_models(
                f"name LIKE '{self._prefix}%'", max_results=MOST
            )
        )
        return [one for one in found if not self._ended(one, asked_at)]

    def _ended(self, entry: RegisteredModel, asked_at: float) -> bool:
        """Whether an entry was another's, and dead; then it is deleted."""
        if entry.name == self._entry:
            return False
        content = entry.description or ""
        watch = self._watches.setdefault(entry.name, Watch(self._clock))
        if not watch.is_over(Found(content=content.encode(), version=content), asked_at):
            return False
        try:
            self._ask(lambda again: self._delete(entry.name))
        except InputError as error:
            raise InputError(
                "the process that had the turn has ended, and its entry cannot be deleted: "
                f"{error.what}",
                self._where,
                f"let somebody who may delete the registered model {entry.name}",
            ) from error
        return True

    def _other(self, found: list[RegisteredModel]) -> str:
        """The process of an entry that is not this one's; empty where there is none."""
        others = [one for one in found if one.name != self._entry]
        return _holder(others[0]) if others else ""

    def _announce(self, again: bool) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._registry.create_registered_model(self._entry, description=self._next())
        except MlflowException as error:
            if not (again and error.error_code == "RESOURCE_ALREADY_EXISTS"):
                raise

    def _renew(self, again: bool) -> bool:
        """Whether the entry was there to be renewed."""
        from mlflow.exceptions import MlflowException

        try:
            self._registry.update_registered_model(self._entry, self._next())
        except MlflowException as error:
            if error.error_code == MISSING:
                return False
            raise
        return True

    def _delete(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._registry.delete_registered_model(name)
        except MlflowException as error:
            if error.error_code != MISSING:
                raise

    def _free(self) -> None:
        with contextlib.suppress(Exception):  # it ends by itself otherwise
            self._delete(self._entry)

    def _is_lost(self) -> bool:
        return self._lost

    def _ask(self, call: Callable[[bool], T]) -> T:
        """The answer of the registry; InputError in one line where it does not give one."""
        try:
            with in_one_line(self._where, "whose turn it is cannot be asked"):
                return asked(call, PATIENCE)
        except UnreachableError as error:
            raise InputError(error.what, self._where, "try again when it answers") from error

    def _next(self) -> str:
        self._beat += 1
        written = Written(
            holder=this_process(), nonce=self._entry, beat=self._beat, seconds=self._seconds
        )
        return written.model_dump_json()


def _holder(entry: RegisteredModel) -> str:
    content = (entry.description or "").encode()
    return read_lease(Found(content=content, version="")).holder or "unknown"


@contextmanager
def turn_in_registry(
    tracking: Tracking, name: str, on_wait: Callable[[str], None]
) -> Iterator[Turn]:
    """Hold a name in the block, across all who use the registry of this connection."""
    from mlflow import MlflowClient

    tracking.client  # noqa: B018  # it says how a server is asked
    turn = RegistryTurn(
        MlflowClient(tracking.address, tracking.registry), name, tracking.where_registry
    )
    turn.acquire(on_wait)
    try:
        yield Turn(turn.still_mine, tracking.where_registry)
    finally:
        turn.release()
