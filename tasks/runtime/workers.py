"""Workers that a flow hands its tasks to: what is under way, and what comes back, in any order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from schemas.errors import InputError, ThreeLoopsError
from tasks.runtime.pipeline_task import PipelineTask, outside_prefect
from tasks.runtime.side_channel import no_answer

R = TypeVar("R")
AHEAD = 2  # tasks handed over for each place, so that no worker waits for its next one
LOOK_SECONDS = 5.0  # between two looks at whether any worker is left
LOST_SECONDS = 120.0  # without any worker, after which nobody waits for another
NOT_REACHED = "Failed to reach API"  # how Prefect's client begins to say so
FINISHED = "the shards that are finished are kept, and the same command goes on with the others"


class Promise(Protocol):
    """What will come of a task that was handed over."""

    def add_done_callback(self, fn: Callable[[Any], None], /) -> Any:
        """Call `fn` once it has come, in whichever thread."""

    def result(self) -> Any:
        """What came, or the exception that was raised."""


class Cluster(Protocol):
    """Who works: threads of this process, or processes that Dask or Ray runs."""

    @property
    def where(self) -> str:
        """Its option and address, as a line about it begins."""

    @property
    def apart(self) -> bool:
        """Whether they are other processes than this one."""

    def places(self) -> int:
        """How many tasks can be worked on at this moment; 0 where no worker is left."""

    def submit(self, task: PipelineTask[..., Any], parameters: Mapping[str, Any]) -> Promise:
        """Hand over a task, of which Prefect is told."""

    def call(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Promise:
        """Hand over a plain call, of which Prefect is told nothing."""

    def cancel(self, promises: Sequence[Promise]) -> None:
        """Begin none of these that is not begun."""

    def fate(self, error: BaseException) -> str:
        """What happened to the workers, where an error is of the cluster and not of the task."""


class Workers:
    """Hands tasks to a cluster.

    A worker that dies costs the tasks that it had, and the cluster gives those to others. Where
    Prefect's server does not answer, the work goes on as plain calls.
    """

    def __init__(self, cluster: Cluster, log_message: Callable[[str], None]) -> None:
        self._cluster = cluster
        self._log_message = log_message
        self._untold = False  # whether workers do not reach Prefect's server

    def ask(self, function: Callable[..., R], parameters: Mapping[str, Any]) -> R:
        """What one worker answers to a plain call. Raises as `each` does."""
        ended: SimpleQueue[int] = SimpleQueue()
        promises = []
        try:
            promises.append(self._cluster.call(function, parameters))
            promises[0].add_done_callback(_telling(ended, 0))
            self._next(ended)
            answer: R = promises[0].result()
        except Exception as error:
            if (told := self._explained(error)) is None:
                raise
            raise told from error
        finally:
            self._cluster.cancel(promises)
        return answer

    def each(
        self,
        task: PipelineTask[..., R],
        calls: Sequence[Mapping[str, Any]],
        made_elsewhere: Callable[[int], R | None] = lambda place: None,
    ) -> Generator[tuple[int, R], None, None]:
        """The place in `calls` and the result of each, as they come.

        The first that fails ends it: what is not begun is cancelled, what is under way may go on
        for a while and is kept. Where it failed for its workers, it is taken if it was made
        elsewhere. Raises InputError where the workers are at fault.
        """
        waiting = deque(range(len(calls)))
        under_way: dict[int, Promise] = {}
        plain: set[int] = set()  # those of which Prefect is told nothing
        ended: SimpleQueue[int] = SimpleQueue()
        try:
            while waiting or under_way:
                while waiting and len(under_way) < max(1, AHEAD * self._cluster.places()):
                    place = waiting.popleft()
                    if outside_prefect() or self._untold:
                        plain.add(place)
                        promise = self._cluster.call(task.fn, calls[place])
                    else:
                        promise = self._cluster.submit(task, calls[place])
                    under_way[place] = promise
                    promise.add_done_callback(_telling(ended, place))
                place = self._next(ended)
                try:
                    result: R = under_way.pop(place).result()
                except Exception as error:
                    if place not in plain and self._lost_prefect(error):
                        waiting.appendleft(place)
                        continue
                    lost = bool(self._cluster.fate(error))
                    if not lost or (found := made_elsewhere(place)) is None:
                        raise
                    result = found
                yield place, result
        except Exception as error:
            if (told := self._explained(error)) is None:
                raise
            raise told from error
        finally:
            self._cluster.cancel(list(under_way.values()))

    @property
    def apart(self) -> bool:
        """Whether they are processes of their own, with an environment of their own."""
        return self._cluster.apart

    def refusal(self, what: str, remedy: str) -> InputError:
        """An error about the workers, which says where they are."""
        return InputError(what, self._cluster.where, remedy)

    def _next(self, ended: SimpleQueue[int]) -> int:
        """The place of a task that has ended; InputError where no worker is left to end one."""
        seen = time.monotonic()
        while True:
            try:
                return ended.get(timeout=LOOK_SECONDS)
            except Empty:
                now = time.monotonic()
                if self._cluster.places():
                    seen = now
                elif now - seen > LOST_SECONDS:
                    raise self.refusal(
                        f"no worker has been there for {now - seen:.0f} seconds",
                        f"start some again: {FINISHED}",
                    ) from None

    def _lost_prefect(self, error: Exception) -> bool:
        """Whether a task failed for want of Prefect's server, which no plain call needs.

        An error that comes from another process has lost its cause.
        """
        if not (no_answer(error) or NOT_REACHED in str(error)):
            return False
        if not self._untold:
            self._log_message(
                f"warning: workers do not reach Prefect's server ({error}); their shards go on "
                "without it, and its page will not show them"
            )
        self._untold = True
        return True

    def _explained(self, error: Exception) -> InputError | None:
        """What the workers are at fault for, in a line; None for an error of the task's own."""
        if isinstance(error, ThreeLoopsError):
            return None
        if isinstance(error, ImportError):
            return self.refusal(
                f"its workers cannot import what they need ({error})",
                "install threeloops where they run, in the version that is here",
            )
        fate = self._cluster.fate(error)
        return self.refusal(fate, FINISHED) if fate else None


def _telling(ended: SimpleQueue[int], place: int) -> Callable[[object], None]:
    return lambda _: ended.put(place)
