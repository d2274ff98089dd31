"""What a flow writes is nobody else's to read, whoever calls it: no command of ours need do so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prefect import Flow
from prefect.flow_engine import run_flow

from flows.eval import eval_flow
from flows.learning import learning_flow
from flows.selection import selection_flow
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from tasks.load_dataset import load_dataset
from tasks.runtime.pipeline_task import pipeline_task

pytestmark = [pytest.mark.usefixtures("usual_mask"), pytest.mark.untraced]
OTHERS = 0o077  # what others and the group may do


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that nothing is in."""
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "fresh"))
    return tmp_path / "fresh"


def _called(flow: Flow[..., object], config: object) -> None:
    flow(config)


def _in_a_worker(flow: Flow[..., object], config: object) -> None:
    """As the process does that Prefect's own worker starts."""
    run_flow(flow, parameters={"config": config})


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("begin", [_called, _in_a_worker])
def test_what_the_flows_write(
    begin: Callable[..., None],
    fresh: Path,
    eval_config: EvalConfig,
    learning_config: LearningConfig,
) -> None:
    begin(eval_flow, eval_config)
    kept = eval_config.model_dump() | {"seed": 1}
    begin(selection_flow, SelectionConfig(**kept))
    begin(learning_flow, learning_config)
    assert _open_to_others(fresh) == []
    assert {"mlflow.db", "tables", "models", "mlartifacts"} <= {one.name for one in fresh.iterdir()}


def test_what_a_task_writes_where_no_flow_is(fresh: Path, eval_config: EvalConfig) -> None:
    load_dataset(eval_config.dataset, eval_config.split, eval_config.limit)
    assert _open_to_others(fresh) == []
    assert list(fresh.iterdir())


def test_two_tasks_in_threads_of_one_worker(tmp_path: Path) -> None:
    """The one that ends first leaves the other's files private."""
    ended, begun = threading.Event(), threading.Event()

    @pipeline_task(name="longer")
    def longer() -> None:
        begun.set()
        ended.wait(10)
        (tmp_path / "made").touch()

    @pipeline_task(name="shorter")
    def shorter() -> None:
        thread.start()
        begun.wait(10)

    thread = threading.Thread(target=longer)
    shorter()
    ended.set()
    thread.join()
    assert (tmp_path / "made").stat().st_mode & OTHERS == 0


def _open_to_others(root: Path) -> list[str]:
    return [str(one) for one in (root, *root.rglob("*")) if one.lstat().st_mode & OTHERS]
