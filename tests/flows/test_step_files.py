"""A step of learning leaves one file, however its run went; runs of other layouts stay whole."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts.report.write import asked_in
from artifacts.store.data_dir import current_data_dir
from flows.cli.parser import main
from flows.learning import learning_flow
from policy.sampling.sample import sample
from schemas.config import LearningConfig
from schemas.results import LearningResult
from tasks.drop_sampled import drop_sampled
from tasks.runtime.runtime import process_runtime
from tasks.train_step import train_step
from tests.data_folder import all_runs, find_run, stored

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


@pytest.fixture(scope="module")
def config(learning_config: LearningConfig) -> LearningConfig:
    """Three steps, a checkpoint after the first, and nothing measured in between."""
    return learning_config.model_copy(
        update={"steps": 3, "checkpoint_every": 1, "dev_every": 0, "logprob_after": True}
    )


@dataclass(frozen=True)
class Unharmed:
    """What a run that nothing stopped left: its names of tables, its files, its result."""

    tables: set[str]
    files: Counter[str]
    training: bytes
    weights: str | None


@pytest.fixture(scope="module")
def unharmed(
    config: LearningConfig, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Unharmed:
    home = tmp_path_factory.mktemp("unharmed")
    shutil.copy(empty_database, home)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("THREELOOPS_HOME", str(home))
        result = learning_flow.fn(config)
        left = Unharmed(tables(), files(), _training(result), result.model.digest)
        process_runtime().models.forget()
    return left


def files() -> Counter[str]:
    """The files of the store by folder, without the lock of the keys."""
    root = current_data_dir().tables
    found = (path for path in root.rglob("*") if path.is_file() and path.name != ".lock")
    return Counter(path.parent.name for path in found)


def tables() -> set[str]:
    root = current_data_dir().tables
    return {str(path.relative_to(root)) for path in root.glob("*/*.parquet")}


def cut_off(monkeypatch: pytest.MonkeyPatch, name: str, at: int, function: Any) -> None:
    """Stop a run in the `at`-th call of one of its tasks, before it or, below 0, behind it."""
    calls: list[int] = []

    def stop(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        found = function(*arguments, **named)
        if len(calls) == -at:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(f"flows.learning_steps.{name}", stop)


def test_a_run_of_three_steps_leaves_a_file_a_step(config: LearningConfig) -> None:
    result = learning_flow.fn(config)
    found = files()
    assert found["step"] == 3
    assert found == Counter(
        step=3,
        training=1,
        problems=2,  # of the split that is trained on, and of the one that is measured
        completions=2,  # before and after
        scores=2,
        keys=4,  # of these four
    )
    rows = pq.read_table(result.tables["training"]).to_pylist()
    kept = {path.stem for path in current_data_dir().tables.glob("step/*.parquet")}
    assert {row["step_digest"] for row in rows} == kept
    for row in rows:
        step = stored().read(stored().lookup("step", row["step_digest"]))
        assert step.num_rows == row["completions"] == 4 * 8
        assert sum(step["reward"].to_pylist()) / 32 == pytest.approx(row["reward_mean"])
        assert step["sum_logprob_after"].null_count == 0
        gap = sum(step["kl_penalty_nats"].to_pylist()) / 32
        assert gap == pytest.approx(row["kl_nats"], abs=1e-5)


def test_more_steps_cost_a_file_each(config: LearningConfig) -> None:
    learning_flow.fn(config)
    three = sum(files().values())
    longer = config.model_copy(update={"steps": 7, "seed": 1})
    before = sum(files().values())
    learning_flow.fn(longer)
    # the same problems; its own steps, training table, and completions after learning
    assert sum(files().values()) - before - 7 <= three - 3


@pytest.mark.parametrize(
    ("task", "at", "function"),
    [
        ("score", 3, None),  # the completions of the second step are there
        ("train_step", 2, train_step),
        ("train_step", -2, train_step),  # its table is there, and the run does not name it
        ("drop_sampled", 2, drop_sampled),  # nor is what was sampled dropped
        ("drop_sampled", -2, drop_sampled),
    ],
)
def test_a_run_that_was_cut_off_in_a_step_leaves_the_same_files_in_the_end(
    config: LearningConfig,
    unharmed: Unharmed,
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    at: int,
    function: Any,
) -> None:
    if function is None:
        from tasks.score import score as function
    with monkeypatch.context() as patched:
        cut_off(patched, task, at, function)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(config)
    process_runtime().models.forget()
    resumed = learning_flow.fn(config, resume=all_runs()[0].run_id)
    assert tables() == unharmed.tables
    assert files() == unharmed.files
    assert _training(resumed) == unharmed.training
    assert resumed.model.digest == unharmed.weights


def test_a_step_that_is_made_again_is_not_sampled_again(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 2 and 3 were made, the newest checkpoint is that of step 1."""
    sampled = _count_samples(monkeypatch)
    config = config.model_copy(update={"steps": 5})
    with monkeypatch.context() as patched:
        patched.setattr("flows.learning_steps.checkpoint", _only_the_first())
        cut_off(patched, "train_step", 4, train_step)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(config)
    assert find_run(all_runs()[0].run_id).tags["newest_step"]
    process_runtime().models.forget()
    sampled.clear()
    learning_flow.fn(config, resume=all_runs()[0].run_id)
    # step 4 was sampled before the cut, 5 and the evaluation afterwards were not
    assert sampled == [4 * 8, 4 * 2]


def test_steps_of_the_former_layout_in_the_same_folder_keep_their_tables(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal runs would have equal keys: what a former run kept must not be dropped with ours."""
    with monkeypatch.context() as patched:
        patched.setattr("schemas.config.LearningConfig.generation", _unmarked)
        patched.setattr("flows.learning_steps.drop_sampled", lambda *_: None)
        learning_flow.fn(config)
    former = tables()
    process_runtime().models.forget()
    learning_flow.fn(config)
    assert former <= tables()


def test_a_run_with_steps_is_whole_to_the_doctor_and_leads_to_each_of_them(
    config: LearningConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    result = learning_flow.fn(config)
    assert main(["show", "--lineage", result.run_id]) == 0
    assert main(["show", result.run_id]) == 0
    capsys.readouterr()
    run = find_run(result.run_id)
    assert "report_error" not in run.tags
    refs = {name: stored().lookup(*of_run) for name, of_run in run.table_refs().items()}
    measured, learned = asked_in(stored(), refs)
    assert [part.stage for part in learned.sampled] == ["step 1", "step 2", "step 3"]
    drawn = {
        name for part in learned.sampled for name in part.completions["problem_id"].to_pylist()
    }
    assert sorted(learned.problems["problem_id"].to_pylist()) == sorted(drawn)
    assert len(measured.sampled) == 2
    digest = pq.read_table(result.tables["training"])["step_digest"].to_pylist()[1]
    stored().path(stored().lookup("step", digest)).unlink()
    assert main(["show", "--lineage", result.run_id]) == 1
    assert main(["doctor"]) == 1
    assert "step 2 of run" in capsys.readouterr().out


def _unmarked(config: LearningConfig) -> Any:
    return config._generation(config.samples, config.problems_per_step)


def _only_the_first() -> Callable[..., None]:
    from tasks.checkpoint import checkpoint

    def write(policy: Any, *arguments: Any) -> None:
        if policy.step == 1:
            checkpoint(policy, *arguments)

    return write


def _count_samples(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many completions each call of the sampler makes."""
    seen: list[int] = []

    def counted(*arguments: Any, **named: Any) -> Any:
        made = sample(*arguments, **named)
        seen.append(len(made.token_ids))
        return made

    monkeypatch.setattr("engines.in_process.sample", counted)
    return seen


def _training(result: LearningResult) -> bytes:
    return Path(result.tables["training"]).read_bytes()
