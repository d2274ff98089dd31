"""A turn that Prefect's server keeps, for machines that share it and no store: one of its global
concurrency limits, held with a lease.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from artifacts.store.shared.lease import POLL, RENEWALS, SECONDS, Turn
from artifacts.unsent.servers import without_password
from schemas.errors import InputError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

ADDRESS = "PREFECT_API_URL"
LOCKED, GONE = 423, (404, 410)  # another has it; the lease is over


def is_named() -> bool:
    """Whether the environment names a server, which other machines may use too."""
    return bool(os.environ.get(ADDRESS))


@contextmanager
def held_by_prefect(
    name: str, on_wait: Callable[[], None], *, seconds: float = SECONDS
) -> Iterator[Turn]:
    """Hold a name in the block, of all that use this server; `on_wait` is told once if it waits.

    A holder that has died loses it when its lease is over; Prefect keeps none shorter than a minute.
    Raises InputError where the server does not keep it.
    """
    from prefect.client.orchestration import get_client

    ended = threading.Event()
    with get_client(sync_client=True) as client:
        with _told():
            _make(client, limit := f"threeloops-{name}")
        lease = _acquired(client, limit, seconds, on_wait)
        keeping = threading.Thread(
            target=_keep, args=(lease, seconds, ended), name=limit, daemon=True
        )
        keeping.start()
        try:
            yield Turn(lambda: _renewed(client, lease, seconds), _where())
        finally:
            ended.set()
            with contextlib.suppress(Exception):  # it ends by itself otherwise
                client.release_concurrency_slots_with_lease(lease)


def _make(client: SyncPrefectClient, limit: str) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
    from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

    try:
        client.read_global_concurrency_limit_by_name(limit)
    except ObjectNotFound:
        with contextlib.suppress(ObjectAlreadyExists):  # another command was faster
            client.create_global_concurrency_limit(
                GlobalConcurrencyLimitCreate(name=limit, limit=1, active=True)
            )


def _acquired(
    client: SyncPrefectClient, limit: str, seconds: float, on_wait: Callable[[], None]
) -> UUID:
    from httpx import HTTPStatusError

    told, pause = False, threading.Event()
    while True:
        with _told():
            try:
                answer = client.increment_concurrency_slots_with_lease(
                    [limit], 1, "concurrency", seconds
                )
                return UUID(answer.json()["lease_id"])
            except HTTPStatusError as error:
                if error.response.status_code != LOCKED:
                    raise
        if not told:
            on_wait()
            told = True
        pause.wait(POLL)


def _renewed(client: SyncPrefectClient, lease: UUID, seconds: float) -> bool:
    """Renew it now; False where it is over, and may be another's."""
    from httpx import HTTPStatusError
    from prefect.exceptions import ObjectNotFound

    with _told():
        try:
            client.renew_concurrency_lease(lease, seconds)
        except ObjectNotFound:
            return False
        except HTTPStatusError as error:
            if error.response.status_code in GONE:
                return False
            raise
    return True


def _keep(lease: UUID, seconds: float, ended: threading.Event) -> None:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        while not ended.wait(seconds / RENEWALS):
            with contextlib.suppress(InputError):  # a server that is away is asked again
                if not _renewed(client, lease, seconds):
                    return


@contextmanager
def _told() -> Iterator[None]:
    """What the client raises becomes one line."""
    from httpx import HTTPError
    from prefect.exceptions import PrefectException

    try:
        yield
    except (HTTPError, PrefectException) as error:
        raise InputError(
            f"Prefect's server does not keep the turn ({type(error).__name__})",
            _where(),
            "see whether it runs, or unset the variable where no other machine uses this MLflow",
        ) from error


def _where() -> str:
    return f"{ADDRESS}={without_password(os.environ.get(ADDRESS, ''))}"
