"""A flow whose server fails."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prefect import Flow
from prefect.exceptions import PrefectHTTPStatusError

from artifacts.store.data_dir import DataDir
from artifacts.unsent.journal import unsent_files
from flows.orchestration.pipeline_flow import pipeline_flow
from flows.orchestration.untold import TO
from tasks.runtime.progress import Message
from tasks.runtime.runtime import process_runtime


def answered(status: int) -> PrefectHTTPStatusError:
    """What Prefect's client raises for an answer with this status."""
    request = httpx.Request("POST", "http://127.0.0.1:4200/api/flow_runs/")
    return PrefectHTTPStatusError("", request=request, response=httpx.Response(status))


@pipeline_flow(name="double", flow_run_name="double {number}")
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_fails_takes_nothing_away(
    begun: bool, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(told: Any, number: int) -> None:
        if begun:
            told.fn(number)
        raise answered(503)

    monkeypatch.setattr(Flow, "__call__", failing)
    said: list[str] = []
    runtime = process_runtime()
    with runtime.progress.listening(
        lambda event: said.append(event.text) if isinstance(event, Message) else None
    ):
        assert double(2) == 4
    assert runtime.side_channel.gone
    assert "does not answer any more (it says 503); the work goes on without it" in said[0]
    assert unsent_files(data_dir, TO) == [], "no flow run was made"


def test_what_a_server_refuses_is_raised(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(told: Any, number: int) -> None:
        raise answered(422)

    monkeypatch.setattr(Flow, "__call__", refusing)
    with pytest.raises(PrefectHTTPStatusError):
        double(2)
    assert not process_runtime().side_channel.gone
