"""Runs of loops and Prefect's flow runs name each other; a demo holds its loops."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from flows.cli.parser import main
from flows.demo import Audience, demo_flow
from flows.eval import eval_flow
from schemas.config import EvalConfig, LearningConfig
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs, every_run, find_run


def note(run_id: str) -> str:
    tags = process_runtime().archive.tracking.client.get_run(run_id).data.tags
    return str(tags["mlflow.note.content"])


def artifacts_of(flow_run: str) -> list[Any]:
    """What a flow run shows in Prefect's page."""
    with get_client(sync_client=True) as client:
        chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[UUID(flow_run)]))
        return list(client.read_artifacts(artifact_filter=chosen))


@pytest.mark.usefixtures("prefect_server")
def test_a_run_and_its_flow_run_name_each_other(eval_config: EvalConfig) -> None:
    result = eval_flow(eval_config)
    run = find_run(result.run_id)
    flow_run = run.tags["flow_run"]
    assert flow_run in note(run.run_id)
    with get_client(sync_client=True) as client:
        assert f"mlflow {run.name}" in client.read_flow_run(UUID(flow_run)).tags
    (link,) = [shown for shown in artifacts_of(flow_run) if shown.key == "mlflow-run"]
    assert run.run_id in link.data


@pytest.mark.usefixtures("prefect_server")
def test_the_page_of_a_flow_run_is_linked_without_a_login_in_its_address(
    eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "https://me:pa55word@host/runs/flow-run/1"
    monkeypatch.setattr("flows.orchestration.links.url_for", lambda _: address)
    run = find_run(eval_flow(eval_config).run_id)
    assert run.tags["flow_run_page"] == "https://host/runs/flow-run/1"
    assert "pa55word" not in note(run.run_id)


def test_a_plain_call_has_no_flow_run_to_name(eval_config: EvalConfig) -> None:
    result = eval_flow.fn(eval_config)
    assert "flow_run" not in find_run(result.run_id).tags


@pytest.mark.usefixtures("prefect_server")
def test_a_demo_is_one_run_that_holds_the_three_loops(
    learning_config: LearningConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    output = demo_flow(Audience(begins=seen.append))(learning_config)
    assert seen == ["A", "B", "C"]
    demo = find_run(output.demo_run_id)
    assert demo.status == "FINISHED"
    assert "each loop is a child" in note(demo.run_id).lower()
    children = [run for run in every_run() if run.parent == demo.run_id]
    assert sorted(run.loop.letter for run in children) == ["A", "B", "C"]
    assert len(all_runs()) == 3, "a demo is no loop, and before and after are part of learning"
    capsys.readouterr()
    assert main(["runs", "--children"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    names = [line.split()[0] for line in lines[1:7]]
    assert [name.partition("-")[0] for name in names] == [
        "demo", "eval", "select", "learn", "eval", "eval",
    ]  # fmt: skip
    assert lines[5].startswith("    eval-")
    assert " A before " in lines[5]
    assert main(["runs"]) == 0
    assert "before" not in capsys.readouterr().out
    assert main(["show", demo.name]) == 0
    assert "after 4 steps" in capsys.readouterr().out
