"""Each file is read, parsed, hashed and copied as often as it has to be, and not more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.datasets import problems as datasets
from artifacts.recording import measured_rows
from artifacts.registry import versions
from artifacts.runs import listing
from artifacts.store import table_files
from artifacts.store.policy_folders import PolicyFolders
from flows.cli.parser import main
from flows.cli.verbs import loops as verbs
from flows.learning import learning_flow
from policy.model import load
from schemas.config import LearningConfig
from tasks.runtime.runtime import process_runtime
from tests.data_folder import find_run

pytestmark = [pytest.mark.slow, pytest.mark.untraced]

WEIGHTS = ".safetensors"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Counter[str]]:
    """Count the calls of a function that a module names, by the last part of their argument."""

    def count(module: Any, name: str) -> Counter[str]:
        calls: Counter[str] = Counter()
        real = getattr(module, name)

        def counting(*arguments: Any, **others: Any) -> Any:
            calls[Path(str(arguments[0])).name if name != "joined" else name] += 1
            return real(*arguments, **others)

        monkeypatch.setattr(module, name, counting)
        return calls

    return count


@pytest.fixture
def _without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run flows as plain calls, as a replay does."""
    monkeypatch.setattr(verbs, "configure_prefect", lambda data_dir: None)
    monkeypatch.setattr(
        verbs, "run_flow", lambda runtime, flow, config, terminal, **more: flow.fn(config, **more)
    )


@pytest.mark.usefixtures("_without_prefect")
@pytest.mark.parametrize("verb", ["eval", "select", "learn"])
def test_a_dataset_file_is_parsed_once_a_command(
    verb: str, tiny: str, small_sums: str, counted: Callable[..., Counter[str]]
) -> None:
    parsed = counted(datasets, "read_problem_file")
    words = [verb, "--model", tiny, "--dataset", small_sums, "--max-new-tokens", "4"]
    if verb == "learn":
        words += ["--steps", "2", "--problems-per-step", "2", "--samples", "2"]
    assert main(words) == 0
    assert parsed == {"problems.jsonl": 1}


def test_weights_are_hashed_once_and_rows_are_joined_once_a_measurement(
    learning_config: LearningConfig, counted: Callable[..., Counter[str]]
) -> None:
    by_others = [counted(module, "fingerprint") for module in (load, versions)]
    joins = counted(measured_rows, "joined")
    learning_flow.fn(learning_config)
    assert _hashed_weights() == 2, "the start's, and those that were learned"
    assert joins["joined"] == 2, "before and after, for the child and the learning run together"
    learning_flow.fn(learning_config)
    assert _hashed_weights() == 3, "the start's are remembered"
    process_runtime().models.forget()
    again = PolicyFolders(process_runtime().data_dir)
    again.digest(Path(learning_config.model))
    assert not again.hashed, "another process remembers them too"
    assert not any(by_others), "nobody else hashes a policy"


def _hashed_weights() -> int:
    hashed = process_runtime().archive.folders.hashed
    return sum(path.suffix == WEIGHTS for path in hashed)


@pytest.mark.parametrize("shard_size", [2, 64])
def test_completions_are_stored_once_and_copied_once(
    shard_size: int, learning_config: LearningConfig, counted: Callable[..., Counter[str]]
) -> None:
    written = counted(table_files, "write_atomic")
    result = learning_flow.fn(learning_config.model_copy(update={"shard_size": shard_size}))
    run, runtime = find_run(result.run_id), process_runtime()
    kept = {name for name, (kind, _) in run.table_refs().items() if kind == "completions"}
    assert kept == {"completions_before", "completions_after"}
    artifacts = runtime.data_dir.run_artifacts
    copies = sorted(path.name for path in artifacts.glob("*/artifacts/tables/*.parquet"))
    assert copies == sorted(
        2 * ["problems.parquet", "completions.parquet", "scores.parquet"] + ["training.parquet"]
    )
    completions = list((runtime.data_dir.tables / "completions").iterdir())
    steps, dev = learning_config.steps, len(learning_config.dev_eval_steps())
    assert len(completions) == dev + len(kept), "no shard is left beside the whole"
    assert len(list((runtime.data_dir.tables / "step").iterdir())) == steps
    kept_tables = {path.name for path in runtime.data_dir.tables.rglob("*.parquet")}
    shards = {name for name in written if name.endswith(".parquet")} - kept_tables
    measured = len(kept) * 2 + dev * 3  # of 4 and of 6 problems
    of_steps = 2 * steps  # completions and scores, until the step's own table has both
    in_parts = measured if shard_size == 2 else 0
    assert len(shards) == of_steps + in_parts, "a single shard is the whole"


def test_listing_joins_a_run_once(
    learning_config: LearningConfig, counted: Callable[..., Counter[str]]
) -> None:
    result = learning_flow.fn(learning_config)
    joins = counted(listing, "joined")
    assert main(["show", result.run_id]) == 0
    assert joins["joined"] == 1
