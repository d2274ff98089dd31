"""The event that starts the evaluation of a new version."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import flow

from flows.orchestration.events import VERSION_REGISTERED, announce_version
from schemas.references import PolicyRef

VERSION = PolicyRef(name="models:/threeloops/3", digest="d" * 64)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The events that Prefect is given."""
    events: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "flows.orchestration.events.emit_event", lambda **event: events.append(event)
    )
    return events


def test_outside_a_flow_run_nothing_is_sent(sent: list[dict[str, Any]]) -> None:
    announce_version(VERSION, "run")
    assert sent == []


@pytest.mark.usefixtures("prefect_server")
def test_a_version_is_announced_with_what_its_evaluation_needs(sent: list[dict[str, Any]]) -> None:
    @flow
    def learning() -> None:
        announce_version(VERSION, "run")

    learning()
    (event,) = sent
    assert event["event"] == VERSION_REGISTERED
    assert (
        event["resource"]["prefect.resource.id"] == "threeloops.model-version.models:/threeloops/3"
    )
    assert event["payload"] == {"model": VERSION.name, "digest": VERSION.digest, "run_id": "run"}
