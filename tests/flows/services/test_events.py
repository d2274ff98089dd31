"""The lines that `up` prints of what happens on its server, from a server that is made up."""

from __future__ import annotations

import re
import socket
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from prefect.client.schemas.events import EventPage
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.events.filters import EventFilter
from prefect.events.schemas.events import ReceivedEvent, Resource

from flows.orchestration.events import VERSION_REGISTERED
from flows.orchestration.up_file import Served
from flows.services.events import EventLines

pytestmark = pytest.mark.slow


class Answers:
    """What Prefect's client would find on a server."""

    def __init__(self) -> None:
        self.runs: dict[str, FlowRun] = {}
        self.events: list[ReceivedEvent] = []

    def read_flow_runs(self, **_: object) -> list[FlowRun]:
        """The newest first, as the server gives them."""
        return list(reversed(self.runs.values()))

    def read_events(self, wanted: EventFilter, limit: int = 100) -> EventPage:
        """The newest first, of those that are wanted."""
        assert limit <= 50, "the server refuses more"
        assert wanted.event is not None
        found = [
            event
            for event in reversed(self.events)
            if wanted.event.includes(event) and wanted.occurred.includes(event)
        ]
        return EventPage(events=found, total=len(found), next_page=None)

    def is_now(self, name: str, state: StateType, message: str = "", title: str = "") -> None:
        """A flow run gets a state; it is a new one where the name is new."""
        known = self.runs.get(name) or FlowRun(name=name, flow_id=uuid4())
        shown = title or state.value.capitalize()
        self.runs[name] = known.model_copy(
            update={
                "state": State(type=state, name=shown, message=message),
                "state_type": state,
                "state_name": shown,
            }
        )

    def happens(self, event: str, model: str, seconds: float = 0.0) -> None:
        """An event of a model version, some seconds from now."""
        occurred = datetime.now(UTC) + timedelta(seconds=seconds)
        self.events.append(
            ReceivedEvent.model_validate(
                {
                    "event": event,
                    "occurred": occurred,
                    "received": occurred,
                    "resource": Resource.model_validate({"prefect.resource.id": f"x.{model}"}),
                    "payload": {"model": model},
                    "id": uuid4(),
                }
            )
        )


def served_at(port: int) -> Served:
    """An `up` whose programs use a port."""
    api = f"http://127.0.0.1:{port}/api"
    return Served(prefect=api, prefect_page="", mlflow="", secret="")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def lines(told: list[str], server: Answers, monkeypatch: pytest.MonkeyPatch) -> EventLines:
    """Lines of that server, without the time at their beginning."""

    def tell(line: str) -> None:
        clock, _, text = line.partition("  ")
        assert re.fullmatch(r"\d\d:\d\d:\d\d", clock)
        told.append(text)

    made = EventLines(served_at(9), tell)
    monkeypatch.setattr(made, "client", server)
    return made


@pytest.fixture
def server() -> Answers:
    return Answers()


def test_what_happened_before_the_first_call_is_not_told(
    lines: EventLines, server: Answers, told: list[str]
) -> None:
    server.is_now("old", StateType.COMPLETED)
    server.happens(VERSION_REGISTERED, "models:/threeloops/1", seconds=-60)
    lines()
    lines()
    assert told == []


def test_each_changed_state_is_one_line_the_oldest_run_first(
    lines: EventLines, server: Answers, told: list[str]
) -> None:
    server.is_now("one", StateType.RUNNING)
    lines()
    server.is_now("one", StateType.COMPLETED)
    server.is_now("two", StateType.RUNNING)
    lines()
    assert told == ["flow run one: completed", "flow run two: running"]
    lines()
    assert len(told) == 2, "a state that stays is no news"
    server.is_now("two", StateType.CANCELLED)
    lines()
    assert told[2:] == ["flow run two: cancelled"]


def test_a_state_is_called_by_its_name(lines: EventLines, server: Answers, told: list[str]) -> None:
    lines()
    server.is_now("one", StateType.RUNNING, title="Retrying")
    lines()
    assert told == ["flow run one: retrying"]


@pytest.mark.parametrize("state", [StateType.FAILED, StateType.CRASHED])
def test_what_went_wrong_is_told_with_the_first_line_of_why(
    state: StateType, lines: EventLines, server: Answers, told: list[str]
) -> None:
    lines()
    server.is_now("one", state, f"{'x' * 200}\nTraceback")
    server.is_now("two", StateType.COMPLETED, "all states completed")
    server.is_now("three", state)
    lines()
    assert told == [
        f"flow run one: {state.value.lower()}: {'x' * 120}",
        "flow run two: completed",
        f"flow run three: {state.value.lower()}",
    ]


@pytest.mark.parametrize("state", [StateType.SCHEDULED, StateType.PENDING, StateType.CANCELLING])
def test_a_state_on_the_way_to_another_is_not_told(
    state: StateType, lines: EventLines, server: Answers, told: list[str]
) -> None:
    lines()
    server.is_now("one", state)
    lines()
    assert told == []


def test_a_registered_version_is_one_line_and_other_events_are_none(
    lines: EventLines, server: Answers, told: list[str]
) -> None:
    lines()
    server.happens(VERSION_REGISTERED, "models:/threeloops/1")
    server.happens(VERSION_REGISTERED, "models:/threeloops/2")
    server.happens("prefect.flow-run.Completed", "models:/threeloops/3")
    lines()
    lines()
    assert told == ["registered models:/threeloops/1", "registered models:/threeloops/2"]


def test_a_server_that_does_not_answer_costs_a_moment_and_no_line(told: list[str]) -> None:
    with socket.socket() as closed:  # bound but not listening: every connection is refused
        closed.bind(("127.0.0.1", 0))
        lines = EventLines(served_at(closed.getsockname()[1]), told.append)
        started = time.monotonic()
        lines()
        lines()
    assert time.monotonic() - started < 5, "the client does not try again and again"
    assert told == []
