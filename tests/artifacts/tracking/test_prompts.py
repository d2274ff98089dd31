"""What a run shows its model is kept with it, and in MLflow's prompt registry once."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from artifacts.doctor.recorded import read_recorded
from artifacts.prompts.template_file import read_template
from artifacts.registry.versions import registered_digests, registered_versions
from artifacts.tracking import prompts
from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, TrackedRun, tracked_run
from artifacts.unsent import prompts as register
from policy.model.template import get_template
from schemas.config import EvalConfig, SamplingSettings
from schemas.loops import EVALUATION
from schemas.own_template import OwnTemplate, WorkedExample

BRIEF = OwnTemplate(
    name="brief",
    version=1,
    form="chat",
    system="Be exact.",
    instruction="{question}\nOne line.",
    examples=(WorkedExample(question="8 + 35?", answer="Final: 43"),),
)
EDITED = BRIEF.model_copy(update={"system": "Be brief."})


def ran(archive: Archive, template: str | OwnTemplate = BRIEF, **more: Any) -> TrackedRun:
    """A run that did nothing but begin and end."""
    with tracked_run(archive, EVALUATION, EvalConfig(template=template, **more), Place()) as run:
        return run


def versions(archive: Archive, name: str) -> list[Any]:
    """Every version of a prompt, as MLflow's own client for prompts reads it."""
    client: MlflowClient = archive.tracking.client
    found: list[Any] = []
    while True:
        try:
            found.append(client.get_prompt_version(name, len(found) + 1))
        except MlflowException:
            return found
        if found[-1] is None:
            return found[:-1]


def linked(archive: Archive, run: TrackedRun) -> Any:
    tags = archive.tracking.client.get_run(run.run_id).data.tags
    return json.loads(tags.get("mlflow.linkedPrompts", "[]"))


def test_a_template_is_registered_once_a_digest_and_named_in_each_run(archive: Archive) -> None:
    runs = [ran(archive, template) for template in (BRIEF, BRIEF, EDITED, BRIEF)]
    first, second = versions(archive, "prompt.brief")
    assert first.template == [
        {"role": "system", "content": "Be exact."},
        {"role": "user", "content": "8 + 35?\nOne line."},
        {"role": "assistant", "content": "Final: 43"},
        {"role": "user", "content": "{{question}}\nOne line."},
    ]
    assert first.tags["threeloops.template"] == "brief@1"
    assert first.tags["threeloops.template_digest"] == get_template(BRIEF).digest
    assert second.template[0]["content"] == "Be brief."
    numbers = [linked(archive, run) for run in runs]
    assert numbers == [[{"name": "prompt.brief", "version": v}] for v in ("1", "1", "2", "1")]
    (listed,) = archive.tracking.client.search_prompts()
    assert listed.name == "prompt.brief"


def test_of_two_machines_that_found_it_missing_at_once_the_first_counts(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(archive)
    there, asked = register._there, []

    def missed_once(client: MlflowClient, words: Any) -> Any:
        asked.append(words)
        return None if len(asked) == 1 else there(client, words)

    monkeypatch.setattr(register, "_there", missed_once)
    late = ran(archive)
    assert len(asked) == 2
    assert linked(archive, late) == [{"name": "prompt.brief", "version": "1"}]
    (kept,) = versions(archive, "prompt.brief")
    assert kept.version == 1


def test_a_built_in_template_is_registered_too_and_plain_text_as_a_text(archive: Archive) -> None:
    ran(archive, "few_shot_chat@1")
    ran(archive, "few_shot_plain@1")
    (chat,) = versions(archive, "prompt.few_shot_chat")
    assert chat.template[-1] == {"role": "user", "content": "{{question}}"}
    (plain,) = versions(archive, "prompt.few_shot_plain")
    assert plain.template.startswith("What is 8 + 35?\nFinal: 43{{end}}What is 27 - 19?\n")
    assert plain.template.endswith("{{end}}{{question}}\n")


def test_the_run_keeps_what_the_file_said(archive: Archive, tmp_path: Path) -> None:
    run = ran(archive)
    assert read_template(str(run.artifact_folder("template.yaml"))) == BRIEF
    record = archive.history.find(run.name)
    assert record.config(EvalConfig).template == BRIEF
    assert record.parameters["template"] == f"brief@1:{get_template(BRIEF).digest}"
    edited = archive.history.find(ran(archive, EDITED).name)
    assert edited.parameters["template"] != record.parameters["template"]
    long = BRIEF.model_copy(update={"system": "x" * 60_000})  # a parameter holds 6,000 characters
    kept = archive.history.find(ran(archive, long).name).config(EvalConfig)
    assert kept.template == long


def test_stored_completions_were_made_with_another_template(archive: Archive) -> None:
    run = ran(archive, "few_shot_chat@1", completions="eval-1a2b3c")
    assert not run.artifact_folder("template.yaml").exists()
    assert linked(archive, run) == []
    assert versions(archive, "prompt.few_shot_chat") == []


def test_a_registry_that_does_not_take_it_is_told_of_and_stops_nothing(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    archive.tracking.client.create_registered_model("prompt.brief")
    with caplog.at_level(logging.WARNING):
        run = ran(archive, sampling=SamplingSettings(temperature=0.5))
    (said,) = (record.getMessage() for record in caplog.records)
    assert said == (
        "MLflow's prompt registry does not take brief@1 (a model has the name prompt.brief); "
        "the run has it as a file"
    )
    assert archive.history.find(run.name).status == "FINISHED"
    assert archive.tracking.client.search_model_versions("name='prompt.brief'") == []


def test_a_lock_that_somebody_holds_stops_nothing(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filelock import FileLock

    monkeypatch.setattr(prompts, "LOCK_SECONDS", 0.01)
    archive.data_dir.locks.mkdir(parents=True)
    with FileLock(archive.data_dir.locks / "prompts.lock", is_singleton=False):
        run = ran(archive)
    assert linked(archive, run)


def test_prompts_are_no_models(archive: Archive) -> None:
    ran(archive)
    assert registered_versions(archive) == []
    assert registered_digests(archive) == set()
    with closing(sqlite3.connect(archive.data_dir.tracking_database)) as connection:
        recorded = read_recorded(connection, archive.data_dir)
    assert recorded is not None
    assert len(recorded.runs) == 1
    assert recorded.versions == {}
