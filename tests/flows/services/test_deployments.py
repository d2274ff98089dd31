"""Which deployments the worker runs: any schedule and parameters, but no code but ours."""

from __future__ import annotations

from typing import Any

import pytest

from flows.services.deployments import PULL_STEPS, entrypoints, objection

EVAL = "flows/eval.py:eval_flow"
SHELL = {"prefect.deployments.steps.run_shell_script": {"script": "touch /tmp/mark"}}


def test_the_flows_are_those_of_the_file() -> None:
    assert entrypoints() == {
        EVAL, "flows/selection.py:selection_flow", "flows/learning.py:learning_flow",
    }  # fmt: skip


def test_a_deployment_of_the_file_is_run() -> None:
    for entrypoint in entrypoints():
        assert objection(entrypoint, PULL_STEPS, {}) == ""
    assert objection(EVAL, PULL_STEPS, {"env": {}, "command": None}) == ""


@pytest.mark.parametrize(
    "steps",
    [
        None,
        [],
        [SHELL],
        [SHELL, *PULL_STEPS],
        [*PULL_STEPS, SHELL],
        [{"prefect.deployments.steps.set_working_directory": {"directory": "/tmp"}}],
    ],
)
def test_other_pull_steps_are_not_run(steps: Any) -> None:
    assert objection(EVAL, steps, {}) == "its pull steps are not those of prefect.yaml"


@pytest.mark.parametrize(
    "entrypoint", [None, "", "/tmp/x.py:f", "flows/eval.py:other", f"./{EVAL}", "os:system"]
)
def test_another_entrypoint_is_not_run(entrypoint: str | None) -> None:
    assert "is none of prefect.yaml" in objection(entrypoint, PULL_STEPS, {})


def test_another_command_or_environment_is_not_run() -> None:
    said = objection(EVAL, PULL_STEPS, {"env": {"LD_PRELOAD": "/tmp/x.so"}, "command": "sh"})
    assert said == "it sets job variables (command, env)"
