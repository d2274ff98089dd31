"""A client of one server, open for one piece of work; no request outlives it, whatever ends it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.from_thread import start_blocking_portal

from engines.openai_server.asking import Asking
from schemas.errors import InputError
from schemas.server import NO_ADDRESS, ServerSettings, is_address

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")
KEY = "OPENAI_API_KEY"
ADDRESS = "OPENAI_BASE_URL"  # of a worker whose settings came without one
NO_KEY = "none"  # the client must have a key; most servers that people run themselves ask for none
ANSWER_SECONDS, CONNECT_SECONDS, CLOSE_SECONDS = 600.0, 10.0, 5.0


def ask_server(
    settings: ServerSettings,
    work: Callable[[Asking], Awaitable[T]],
    on_progress: Callable[[int], None] = lambda done: None,
    on_start: Callable[[Future[T]], None] = lambda work: None,
) -> T:
    """What `work` makes of the server, which it is given to ask.

    The requests run in a thread with a loop that ends here. So an interrupt, which reaches the
    main thread, cancels those that are under way, closes their connections, and then goes on.
    `on_progress` is called in this thread with what `work` tells by `Asking.tell`. `on_start` gets
    what another thread may cancel; then CancelledError is raised.
    """
    address_of(settings)
    _installed()
    told: SimpleQueue[int | None] = SimpleQueue()
    with start_blocking_portal() as portal:
        made = portal.start_task_soon(_session, settings, work, told.put)
        on_start(made)
        made.add_done_callback(lambda _: told.put(None))
        while (done := told.get()) is not None:
            on_progress(done)
        return made.result()


def address_of(settings: ServerSettings) -> str:
    """The server's address; InputError where there is none, or one that is no address."""
    if address := settings.base_url or os.environ.get(ADDRESS, ""):
        if not is_address(address):
            raise InputError(NO_ADDRESS, ADDRESS, "set it again, or give --base-url")
        return address.rstrip("/")
    raise InputError("no server is named", "--base-url", "give its address, as http://HOST:8000/v1")


def _key() -> str:
    """The key of the environment, which is neither recorded nor shown."""
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InputError("holds characters that no key has", KEY, "set it again")
    return key or NO_KEY


def _installed() -> None:
    try:
        import openai  # noqa: F401
    except ImportError:
        raise InputError(
            "a server is asked with the package openai", "--base-url", "install threeloops[server]"
        ) from None


async def _session(
    settings: ServerSettings,
    work: Callable[[Asking], Awaitable[T]],
    tell: Callable[[int], None],
) -> T:
    client = _client(settings)
    try:
        return await work(Asking(client, settings, tell))
    finally:
        # also where this task is cancelled, which would end the closing too
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await client.close()


def _client(settings: ServerSettings) -> AsyncOpenAI:
    from openai import AsyncOpenAI, Timeout

    return AsyncOpenAI(
        base_url=address_of(settings),
        api_key=_key(),
        max_retries=0,  # `Asking` sends again: it waits for all requests at once
        timeout=Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
    )
