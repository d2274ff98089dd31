"""What a person sees of a flow run on Prefect's page, and what its form for parameters offers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.utilities.callables import parameter_schema

from flows.eval import eval_flow
from flows.learning import learning_flow
from flows.orchestration.page import (
    ProgressArtifacts,
    day_of_flow_run,
    publish_result,
    result_rows,
    showing_progress,
)
from flows.selection import selection_flow
from schemas.config import EvalConfig, LearningConfig
from schemas.results import EvalResult, LearningResult, SelectionResult
from tasks.runtime.progress import Event, Message, Progress
from tasks.runtime.runtime import process_runtime
from tasks.runtime.side_channel import SideChannel
from tests.data_folder import find_run

DEPLOYMENTS = yaml.safe_load((Path(__file__).parents[3] / "prefect.yaml").read_text())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, str]]:
    """The calls that a listener makes to Prefect's server."""
    calls: list[tuple[str, float, str]] = []

    def create(share: float, description: str) -> Any:
        calls.append(("create", share, description))
        return uuid4()

    def update(artifact: Any, share: float, description: str) -> None:
        calls.append(("update", share, description))

    monkeypatch.setattr("flows.orchestration.page.create_progress_artifact", create)
    monkeypatch.setattr("flows.orchestration.page.update_progress_artifact", update)
    return calls


def test_long_work_is_told_seldom_and_at_its_end(told: list[tuple[str, float, str]]) -> None:
    clock = 0.0
    listener = ProgressArtifacts(SideChannel(print), now=lambda: clock)
    for second in range(21):
        clock = float(second)
        listener(Progress("step 1", second, 20, "completions", part=True))
        listener(Progress("learning", second, 20, "steps", notes={"reward": "0.50"}))
    assert [(call, share) for call, share, _ in told] == [
        ("create", 15.0), ("update", 40.0), ("update", 65.0), ("update", 90.0), ("update", 100.0)
    ]  # fmt: skip
    assert told[-1][2] == "learning: 20 of 20 steps, reward 0.50"


def test_short_work_and_lines_without_a_measure_are_not_told(
    told: list[tuple[str, float, str]],
) -> None:
    clock = 0.0
    listener = ProgressArtifacts(SideChannel(print), now=lambda: clock)
    for step in range(9):
        for part in range(3):
            clock += 0.9
            listener(Progress(f"holdout {step}", part, 2, "completions"))
        listener(Message("a line"))
    assert told == []


def test_outside_a_flow_run_nothing_is_published(
    evaluation: EvalResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("there is no flow run to publish to")

    for name in ("create_table_artifact", "create_markdown_artifact", "create_progress_artifact"):
        monkeypatch.setattr(f"flows.orchestration.page.{name}", refuse)
    lines: list[str] = []
    publish_result(SideChannel(lines.append), evaluation)
    runtime = process_runtime()
    with showing_progress(runtime):
        assert runtime.progress.listeners == []
    assert lines == []


def test_the_rows_of_a_selection_say_what_each_rule_gained(selection: SelectionResult) -> None:
    rows = {row["what"]: row for row in result_rows(selection)}
    assert rows["pass@1"]["rate"] == "33 %"
    assert rows["pass@1"]["samples"] == "3"
    assert rows["picked by oracle"]["samples"] == "1"
    assert rows["picked by oracle"]["gain in points"] == "+46.7"
    assert "gain in points" not in rows["pass@1"]


def test_the_rows_of_learning_are_those_before_and_those_after(learning: LearningResult) -> None:
    rows = {row["what"]: row for row in result_rows(learning)}
    assert (rows["pass@1 before"]["rate"], rows["pass@1 after"]["rate"]) == ("20 %", "50 %")
    assert len(rows) == len(result_rows(learning)), "no row has the name of another"


@pytest.mark.usefixtures("prefect_server")
def test_a_server_that_does_not_answer_costs_the_page_and_not_the_run(
    eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise httpx.ConnectError("nobody there")

    monkeypatch.setattr("flows.orchestration.page.create_table_artifact", gone)
    monkeypatch.setattr("flows.orchestration.page.create_progress_artifact", gone)
    monkeypatch.setattr("flows.orchestration.page.LONG_SECONDS", 0.0)
    heard: list[Event] = []
    with process_runtime().progress.listening(heard.append):
        result = eval_flow(eval_config)
    assert find_run(result.run_id).status == "FINISHED"
    lines = [event.text for event in heard if isinstance(event, Message)]
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert warning.startswith("warning: Prefect's server does not answer any more (ConnectError)")
    assert heard, "and there is no second one, which would wait as long again"


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_run_shows_its_tasks_by_what_they_do_its_result_and_its_subjects(
    eval_config: EvalConfig,
) -> None:
    state = eval_flow(eval_config, return_state=True)
    result = state.result()
    identity = state.state_details.flow_run_id
    assert identity is not None
    with get_client(sync_client=True) as client:
        this = FlowRunFilter(id=FlowRunFilterId(any_=[identity]))
        names = {run.name for run in client.read_task_runs(flow_run_filter=this)}
        artifacts = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[identity]))
        )
        tags = client.read_flow_run(identity).tags
    assert f"generate holdout: {eval_config.model}, 6 problems x 2" in names
    assert "score 12 completions with final_int@1" in names
    by_type = {artifact.type: artifact for artifact in artifacts if artifact.key != "mlflow-run"}
    assert "pass@1" in str(by_type["table"].data)
    assert "### pass@1" in str(by_type["markdown"].data)
    assert {"loop A", f"model {eval_config.model}", "dataset arithmetic"} <= set(tags)
    assert [row["what"] for row in result_rows(result)][:2] == ["pass@1", "pass@2"]


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_run_that_cannot_work_fails_with_the_reason() -> None:
    config = EvalConfig(model="models:/threeloops@champion")
    state = eval_flow(config, return_state=True)
    assert state.is_failed()
    assert "no such version in the registry" in str(state.message)
    assert "threeloops promote" in str(state.message)


@pytest.mark.usefixtures("prefect_server")
def test_learning_that_is_asked_to_promote_ends_in_the_gate(
    learning_config: LearningConfig,
) -> None:
    result = learning_flow(learning_config, promote=True)
    assert result.gate is not None
    assert result.gate.candidate.name == result.model.name
    assert result.gate.decision in ("promoted", "refused")
    kept = find_run(result.run_id).result()
    assert isinstance(kept, LearningResult)
    assert kept.gate == result.gate
    with get_client(sync_client=True) as client:
        keys = [artifact.key for artifact in client.read_artifacts()]
    assert "gate" in keys
    stages = [row["what"] for row in result_rows(result)]
    assert {"pass@1 before", "pass@1 after"} <= set(stages)


@pytest.mark.parametrize("flow", [eval_flow, selection_flow, learning_flow])
def test_every_parameter_of_a_deployment_has_a_type_and_a_description(flow: Any) -> None:
    schema = parameter_schema(flow).model_dump()
    fields = dict(schema["definitions"])
    for name, model in fields.items():
        for field, what in model["properties"].items():
            assert what.get("description"), f"{name}.{field}"
            assert {"type", "anyOf", "allOf", "oneOf", "$ref", "enum", "const"} & set(what), field
    for parameter, what in schema["properties"].items():
        assert what.get("description"), parameter


def test_each_week_learns_from_other_samples(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekly = next(one for one in DEPLOYMENTS["deployments"] if one["name"] == "weekly")
    assert weekly["parameters"]["seed_of_the_day"] is True
    today = int(datetime.now(UTC).strftime("%Y%m%d"))
    assert day_of_flow_run() in (today, today + 1)
    config = learning_config.model_copy(update={"dev_every": 0})
    digests = set()
    for day in (20261129, 20261206):
        monkeypatch.setattr("flows.learning.day_of_flow_run", lambda day=day: day)
        result = learning_flow.fn(config, seed_of_the_day=True)
        assert find_run(result.run_id).config(LearningConfig).seed == day
        digests.add(result.model.digest)
    assert len(digests) == 2


def test_deployments_cover_the_schedules_and_no_two_learn_at_once() -> None:
    found = {one["name"]: one for one in DEPLOYMENTS["deployments"]}
    assert found["nightly"]["parameters"]["config"]["model"] == "models:/threeloops@champion"
    assert found["weekly"]["parameters"]["promote"] is True
    assert found["weekly"]["schedules"]
    assert found["nightly"]["schedules"]
    (trigger,) = found["new-version"]["triggers"]
    assert trigger["expect"] == ["threeloops.model-version.registered"]
    learners = [one for one in found.values() if "learning" in one["entrypoint"]]
    assert {one["work_pool"].get("work_queue_name") for one in learners} == {"learners"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS["deployments"], ids=lambda one: one["name"])
def test_the_parameters_of_a_deployment_are_a_configuration(deployment: dict[str, Any]) -> None:
    kinds: dict[str, Flow[..., Any]] = {
        "eval": eval_flow,
        "selection": selection_flow,
        "learning": learning_flow,
    }
    flow = kinds[deployment["entrypoint"].split("/")[1].split(".")[0]]
    flow.validate_parameters(deployment["parameters"])
