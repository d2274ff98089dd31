"""Shards on threads: the same tables, each shard a task run; loop C and a replay refuse."""

from __future__ import annotations

import pytest

from artifacts.store.data_dir import DataDir
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.preflight import preflight
from flows.selection import selection_flow
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import InputError
from tasks.runtime.runtime import process_runtime
from tests.data_folder import find_run


@pytest.mark.usefixtures("prefect_server")
def test_an_evaluation_on_threads_has_the_tables_of_one_without(
    eval_config: EvalConfig, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client

    here = eval_flow.fn(eval_config)
    monkeypatch.setenv("THREELOOPS_HOME", str(data_dir.root.parent / "other"))
    by_threads = eval_flow(eval_config.model_copy(update={"task_runner": "threads"}))
    names = {name: path.rpartition("/")[2] for name, path in here.tables.items()}
    assert {name: path.rpartition("/")[2] for name, path in by_threads.tables.items()} == names
    assert find_run(by_threads.run_id).config(EvalConfig).task_runner == "threads"
    assert process_runtime().workers is None, "it holds none after the flow"
    with get_client(sync_client=True) as client:
        told = {run.name for run in client.read_task_runs(limit=200)}
    assert {"generate shard from problem 0", "generate shard from problem 4"} <= told


def test_a_selection_on_threads_picks_what_one_without_picks(
    eval_config: EvalConfig, tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    of_eval = {name: getattr(eval_config, name) for name in EvalConfig.model_fields}
    config = SelectionConfig(**of_eval)
    here = selection_flow.fn(config)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path_factory.mktemp("other") / "home"))
    by_threads = selection_flow.fn(config.model_copy(update={"task_runner": "threads"}))
    assert by_threads.selected == here.selected


def test_loop_c_refuses(learning_config: LearningConfig) -> None:
    config = learning_config.model_copy(update={"task_runner": "threads"})
    with pytest.raises(InputError, match="^--task-runner threads: a policy that learns is"):
        preflight(process_runtime(), config)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learn", "--task-runner", "dask"], "a policy that learns is sampled where it learns"),
        (["eval", "--task-runner", "celery"], "celery"),
        (["eval", "--completions", "x.parquet", "--task-runner", "threads"], "stored ones are"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line


@pytest.mark.parametrize("verb", ["eval", "select"])
def test_one_of_several_processes_hands_nothing_to_workers(
    verb: str, tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(*_: object, **__: object) -> None:
        raise AssertionError("it is refused before a model is loaded")

    monkeypatch.setattr("policy.model.load.load_policy", load)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert main([verb, "--model", tiny, "--task-runner", "threads"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "--task-runner threads under torchrun or srun: each of 2 processes would hand" in line
