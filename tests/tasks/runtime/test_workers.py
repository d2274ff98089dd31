"""Tasks are handed to workers a few at a time; what fails is said once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from schemas.errors import InputError
from tasks.runtime import workers as module
from tasks.runtime.pipeline_task import PipelineTask, pipeline_task
from tasks.runtime.workers import Promise, Workers


@pipeline_task("half", "half of {number}")
def half(number: int) -> int:
    """Half of an even number."""
    if number % 2:
        raise ValueError(f"{number} is odd")
    return number // 2


class Bench:
    """A cluster in which the test says what ends, and when."""

    where = "the bench"
    apart = True

    def __init__(self, places: int = 1) -> None:
        self.there = places
        self.handed: list[tuple[str, Mapping[str, Any], Future[Any]]] = []
        self.cancelled: list[Promise] = []
        self.failing: dict[str, Exception] = {}
        self.at_once = True

    def places(self) -> int:
        return self.there

    def submit(self, task: PipelineTask[..., Any], parameters: Mapping[str, Any]) -> Promise:
        return self._hand("task", task.fn, parameters)

    def call(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Promise:
        return self._hand("call", function, parameters)

    def cancel(self, promises: Sequence[Promise]) -> None:
        self.cancelled += promises

    def fate(self, error: BaseException) -> str:
        return "they died" if isinstance(error, EOFError) else ""

    def _hand(
        self, kind: str, function: Callable[..., Any], parameters: Mapping[str, Any]
    ) -> Promise:
        promise: Future[Any] = Future()
        self.handed.append((kind, parameters, promise))
        if self.at_once:
            try:
                if kind in self.failing:
                    raise self.failing[kind]
                promise.set_result(function(**parameters))
            except Exception as error:
                promise.set_exception(error)
        return promise


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a flow run, whose server is there."""
    monkeypatch.setattr(module, "outside_prefect", lambda: False)


def calls(*numbers: int) -> list[dict[str, int]]:
    return [{"number": number} for number in numbers]


@pytest.mark.usefixtures("inside")
def test_each_call_is_answered_with_its_place() -> None:
    said: list[str] = []
    found = dict(Workers(Bench(), said.append).each(half, calls(8, 2, 6)))
    assert found == {0: 4, 1: 1, 2: 3}
    assert said == []


@pytest.mark.usefixtures("inside")
def test_no_more_are_under_way_than_a_few_for_each_place() -> None:
    bench = Bench(places=3)
    bench.at_once = False
    coming = Workers(bench, print).each(half, calls(*range(0, 40, 2)))
    answers: list[tuple[int, int]] = []
    taking = threading.Thread(target=lambda: answers.append(next(coming)))
    taking.start()
    while len(bench.handed) < 6:
        taking.join(0.01)
    taking.join(0.1)
    assert len(bench.handed) == module.AHEAD * 3
    bench.handed[4][2].set_result(99)
    taking.join(10)
    assert answers == [(4, 99)]
    coming.close()
    assert len(bench.cancelled) == 5, "whoever stops asking leaves nothing waiting"


@pytest.mark.usefixtures("inside")
def test_the_first_error_ends_it_and_cancels_the_others() -> None:
    bench = Bench(places=2)
    with pytest.raises(ValueError, match="^3 is odd$"):
        list(Workers(bench, print).each(half, calls(2, 3, 4, 6, 8, 10)))
    assert len(bench.handed) < 6
    assert len(bench.cancelled) == len(bench.handed) - 2


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EOFError("x"), "^the bench: they died; .* the same command goes on with the others$"),
        (ModuleNotFoundError("No module named 'tasks'"), "^the bench: .*No module named 'tasks'.*"),
        (InputError("what", "the worker on m", "do"), "^the worker on m: what; do$"),
    ],
)
def test_what_workers_are_at_fault_for_is_one_line(error: Exception, said: str) -> None:
    bench = Bench()
    bench.failing["task"] = error
    with pytest.raises(InputError, match=said):
        list(Workers(bench, print).each(half, calls(2)))


@pytest.mark.usefixtures("inside")
def test_where_workers_do_not_reach_prefect_their_shards_go_on_without_it() -> None:
    bench, said = Bench(), list[str]()
    bench.failing["task"] = RuntimeError("Failed to reach API at http://127.0.0.1:1/api/")
    found = dict(Workers(bench, said.append).each(half, calls(2, 4, 6, 8)))
    assert found == {0: 1, 1: 2, 2: 3, 3: 4}
    assert len(said) == 1
    assert "workers do not reach Prefect's server" in said[0]
    kinds = [kind for kind, _, _ in bench.handed]
    assert kinds.count("call") == 4
    assert kinds.count("task") <= module.AHEAD


@pytest.mark.parametrize("kind", ["task", "call"])
def test_what_lost_workers_had_is_taken_where_it_was_made_elsewhere(
    kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "task":
        request.getfixturevalue("inside")
    bench, elsewhere = Bench(), {0: 1, 1: 2}
    bench.failing[kind] = EOFError()
    found: list[tuple[int, int]] = []
    with pytest.raises(InputError, match="^the bench: they died; "):
        found.extend(Workers(bench, print).each(half, calls(2, 4, 6), elsewhere.get))
    assert found == [(0, 1), (1, 2)]


def test_a_task_that_fails_is_not_looked_for_elsewhere() -> None:
    with pytest.raises(ValueError, match="^3 is odd$"):
        list(Workers(Bench(), print).each(half, calls(3), {0: 1}.get))


def test_outside_a_flow_run_tasks_are_plain_calls() -> None:
    bench = Bench()
    assert dict(Workers(bench, print).each(half, calls(2, 4))) == {0: 1, 1: 2}
    assert [kind for kind, _, _ in bench.handed] == ["call", "call"]


def test_nobody_waits_long_where_no_worker_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(module, "LOST_SECONDS", 0.1)
    bench = Bench(places=0)
    bench.at_once = False
    with pytest.raises(InputError, match="^the bench: no worker has been there for .* start some"):
        list(Workers(bench, print).each(half, calls(2, 4)))
    with pytest.raises(InputError, match="^the bench: no worker has been there for"):
        Workers(bench, print).ask(half.fn, {"number": 2})
    assert len(bench.cancelled) == len(bench.handed) == 2


def test_one_worker_answers_a_question() -> None:
    bench = Bench()
    assert Workers(bench, print).ask(half.fn, {"number": 8}) == 4
    with pytest.raises(ValueError, match="^3 is odd$"):
        Workers(bench, print).ask(half.fn, {"number": 3})
