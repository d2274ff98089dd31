"""A template reaches a server's prompt registry once, also where the server was away."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, tracked_run
from artifacts.unsent.prompts import DIGEST, IS_PROMPT, LINKED
from policy.model.template import get_template
from schemas.config import EvalConfig
from schemas.loops import EVALUATION
from schemas.own_template import OwnTemplate
from tests.mlflow_server import LOSE_ANSWER, PASS, REFUSE, Between

Open = Callable[[], Archive]


@pytest.fixture
def template() -> OwnTemplate:
    """A template that the server, which other tests use too, has never seen."""
    name = f"brief-{uuid4().hex[:8]}"
    return OwnTemplate(name=name, version=1, form="chat", instruction="{question} One line.")


def ran(archive: Archive, template: OwnTemplate) -> str:
    """A run that did nothing but begin and end; its id."""
    with tracked_run(archive, EVALUATION, EvalConfig(template=template), Place()) as run:
        return run.run_id


def registered(archive: Archive, template: OwnTemplate) -> list[tuple[str, str]]:
    """Number and digest of each version."""
    where = f"name='prompt.{template.name}' and tags.`{IS_PROMPT}` = 'true'"
    found = archive.tracking.client.search_model_versions(where)
    return [(str(one.version), one.tags[DIGEST]) for one in found]


def linked(archive: Archive, run: str) -> Any:
    found = archive.history.find(run)
    return json.loads(archive.tracking.client.get_run(found.run_id).data.tags[LINKED])


def test_a_server_gets_a_template_once(way: Between, opened: Open, template: OwnTemplate) -> None:
    archive = opened()
    runs = [ran(archive, template), ran(archive, template)]
    assert registered(archive, template) == [("1", get_template(template).digest)]
    for run in runs:
        assert linked(archive, run) == [{"name": f"prompt.{template.name}", "version": "1"}]


def test_a_template_of_a_run_whose_server_was_away_is_sent_later(
    way: Between, opened: Open, template: OwnTemplate
) -> None:
    archive = opened()
    archive.tracking.client  # noqa: B018  # it is there at the start
    way.decide = lambda path: REFUSE
    run = ran(archive, template)
    way.decide = lambda path: PASS
    later = opened()
    later.tracking.client  # noqa: B018  # what is kept is sent when it is made
    assert later.tracking.unsent.sent["register prompt"] == 1
    assert later.tracking.unsent.left == 0
    assert registered(later, template) == [("1", get_template(template).digest)]
    assert linked(later, run) == [{"name": f"prompt.{template.name}", "version": "1"}]


def test_an_answer_that_is_lost_makes_no_second_version(
    way: Between, opened: Open, template: OwnTemplate
) -> None:
    archive = opened()
    archive.tracking.client  # noqa: B018
    lost: list[str] = []

    def decide(path: str) -> str:
        if path.endswith("model-versions/create") and not lost:
            lost.append(path)
            return LOSE_ANSWER
        return PASS

    way.decide = decide
    ran(archive, template)
    assert lost
    assert registered(archive, template) == [("1", get_template(template).digest)]


def test_a_template_that_the_server_refuses_holds_up_nothing_of_what_is_sent(
    way: Between, opened: Open, template: OwnTemplate, caplog: pytest.LogCaptureFixture
) -> None:
    archive = opened()
    archive.tracking.client.create_registered_model(f"prompt.{template.name}")
    way.decide = lambda path: REFUSE
    run = ran(archive, template)
    way.decide = lambda path: PASS
    with caplog.at_level(logging.WARNING):
        later = opened()
        assert later.history.find(run).status == "FINISHED"
    assert later.tracking.unsent.left == 0
    said = [one.getMessage() for one in caplog.records]
    assert any("prompt registry does not take" in line for line in said)
    assert registered(later, template) == []
