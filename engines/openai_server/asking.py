"""Requests to one server: so many at a time, sent again where that helps, slower where it asks."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from engines.openai_server.faults import Fault, fault_in, fault_of, refused
from schemas.errors import InputError
from schemas.server import ServerSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # seconds before a request is sent again
LONGEST_WAIT = 120.0  # seconds, whatever a server that is not well asks
LONGEST_LIMIT = 900.0  # seconds that a rate limit is waited for while nothing is answered


class Asking:
    """Asks one server.

    A request that failed in passing is sent again, `max_retries` times, after pauses that double
    and vary, so that not all come back at once. A rate limit holds back every request for as long
    as the server says, and is no failure. `tell` says how far the work is to whoever waits for it.
    """

    def __init__(
        self, client: AsyncOpenAI, settings: ServerSettings, tell: Callable[[int], None]
    ) -> None:
        self.tell = tell
        self._client = client
        self._settings = settings
        self._turns = anyio.Semaphore(settings.num_concurrent)
        self._chance = random.Random()
        self._held_until = 0.0
        self._limited_since: float | None = None

    @property
    def address(self) -> str:
        """Where the server is, for requests beside /v1; it is never shown."""
        return str(self._client.base_url).rstrip("/")

    async def get(self, path: str, *, patient: bool = True) -> Any:
        """The JSON that the server answers, or its text where it is no JSON.

        Without patience, one try: None where it fails in any way.
        """
        from openai import OpenAIError

        if patient:
            return await self._asked(lambda: self._client.get(path, cast_to=object))
        try:
            return await self._client.get(path, cast_to=object, options={"timeout": 10.0})
        except (OpenAIError, ValueError):
            return None

    async def complete(self, body: Mapping[str, Any]) -> Any:
        """What the server answers to one request for completions, as it is."""
        return await self.post("/completions", body)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the server answers to a request of another kind, as it is."""
        return await self._asked(lambda: self._client.post(path, cast_to=object, body=dict(body)))

    async def all(self, jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """The results of all jobs in their order; the first that fails ends the others."""
        done: dict[int, T] = {}
        failed: list[Exception] = []

        async def do(place: int) -> None:
            try:
                async with self._turns:
                    done[place] = await jobs[place]()
            except Exception as error:
                failed.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for place in range(len(jobs)):
                group.start_soon(do, place)
        if failed:
            raise failed[0]
        return [done[place] for place in range(len(jobs))]

    async def _asked(self, send: Callable[[], Awaitable[Any]]) -> Any:
        from openai import OpenAIError

        failures = 0
        while True:
            await self._until_allowed()
            try:
                answer = await send()
                fault = fault_in(answer, self.address)
            except (OpenAIError, ValueError) as error:  # a ValueError is JSON that breaks off
                fault = fault_of(error, self.address)
            if fault is None:
                self._limited_since = None
                return answer
            if fault.limited:
                self._hold(fault)
                continue
            if not fault.passing or failures >= self._settings.max_retries:
                raise refused(fault, failures + 1)
            failures += 1
            await anyio.sleep(min(LONGEST_WAIT, self._pause(failures, fault.wait_seconds)))

    async def _until_allowed(self) -> None:
        while (left := self._held_until - time.monotonic()) > 0:
            await anyio.sleep(left)

    def _hold(self, fault: Fault) -> None:
        """Hold back all requests as a rate limit asks; InputError where that goes on too long.

        Where it does not say for how long, as long as it has let nothing through, so pauses double.
        """
        now = time.monotonic()
        if self._limited_since is None:
            self._limited_since = now
        limited = now - self._limited_since
        if fault.wait_seconds is None:
            wait = max(self._pause(1, None), min(LONGEST_PAUSE, limited))
        else:
            wait = self._pause(1, fault.wait_seconds)
        if limited + wait > LONGEST_LIMIT:
            raise InputError(
                f"the server's rate limit has let nothing through for {LONGEST_LIMIT / 60:.0f} "
                "minutes, or asks to wait longer",
                "--base-url",
                "run the command again later: it goes on where it was",
            )
        self._held_until = max(self._held_until, now + wait)

    def _pause(self, failures: int, asked: float | None) -> float:
        """Seconds to wait: what the server asks, else longer with each failure, by chance."""
        jitter = self._chance.uniform(0.5, 1.0)
        if asked is not None:
            return asked + jitter * FIRST_PAUSE
        return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (failures - 1)) * jitter
