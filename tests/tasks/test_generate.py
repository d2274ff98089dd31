"""When stored completions are taken instead of new ones, and what is kept of the shards."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from artifacts.store.key_index import KeyIndex
from artifacts.store.parquet_table import provenance_of
from policy.model.numerics import numerics
from policy.sampling.sample import Samples, sample
from schemas.config import Compute, GenerationSettings
from schemas.errors import StoreError
from schemas.references import PolicyRef, TableRef
from tasks.generate import generate
from tasks.runtime.progress import Event, Progress, ShardStored
from tasks.runtime.runtime import Runtime

CPU = Compute(device="cpu", precision="float32")


class Sampler:
    """Samples as `sample` does, counts the calls, and fails at call `fails_at`."""

    def __init__(self) -> None:
        self.calls = 0
        self.fails_at = 0

    def __call__(self, *arguments: Any, **named: Any) -> Samples:
        self.calls += 1
        if self.calls == self.fails_at:
            raise KeyboardInterrupt
        return sample(*arguments, **named)


@pytest.fixture
def sampler(monkeypatch: pytest.MonkeyPatch) -> Sampler:
    made = Sampler()
    monkeypatch.setattr("engines.in_process.sample", made)
    return made


def tables(runtime: Runtime) -> list[str]:
    return [path.stem for path in (runtime.store.root / "completions").glob("*.parquet")]


def test_completions_of_another_precision_are_not_taken_for_this_ones(
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    sampler: Sampler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert numerics(CPU).startswith("cpu float32 ")
    first = generate(problems, policy, settings)
    assert generate(problems, policy, settings) == first
    assert sampler.calls == 2, "two shards, sampled once"
    monkeypatch.setattr("tasks.generate_shard.numerics", lambda device: "cuda bfloat16")
    generate(problems, policy, settings)
    assert sampler.calls == 4


def test_completions_of_other_numerics_are_found_and_never_sampled(
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    sampler: Sampler,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = numerics(CPU)
    first = generate(problems, policy, settings)
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    of_then = settings.model_copy(update={"computed_by": here})
    assert generate(problems, policy, of_then) == first
    others = of_then.model_copy(update={"seed": 1})
    with pytest.raises(StoreError, match=f"^tiny: .* computed with {here} are not in the store"):
        generate(problems, policy, others)
    assert sampler.calls == 2


@pytest.mark.parametrize("change", [{"seed": 1}, {"samples": 2}, {"shard_size": 3}])
def test_other_settings_are_other_completions(
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    sampler: Sampler,
    change: dict[str, int],
) -> None:
    first = generate(problems, policy, settings)
    other = generate(problems, policy, settings.model_copy(update=change))
    assert other != first
    assert sampler.calls > 2


def test_the_rows_are_those_of_the_problems_in_their_order(
    runtime: Runtime, problems: TableRef, policy: PolicyRef, settings: GenerationSettings
) -> None:
    table = runtime.store.read(generate(problems, policy, settings))
    ids = [name for name in ("1+2", "2+2", "4+3") for _ in range(4)]
    assert table["problem_id"].to_pylist() == ids
    assert table["sample_index"].to_pylist() == [0, 1, 2, 3] * 3
    for row in table.to_pylist():
        assert row["token_count"] == len(row["token_ids"]) == len(row["logprobs"])
        assert row["sum_logprob"] == pytest.approx(sum(row["logprobs"]))
        assert row["token_count"] == 6 or row["finish_reason"] == "stop"
    seeds = table["shard_seed"].to_pylist()
    assert len(set(seeds[:8])) == len(set(seeds[8:])) == 1
    assert seeds[0] != seeds[8], "each shard has a seed of its own"
    provenance = provenance_of(table)
    assert provenance.parents == {"problems": problems.digest}
    assert provenance.config["policy"] == policy.digest


def test_shards_are_dropped_once_the_whole_is_there(
    runtime: Runtime, problems: TableRef, policy: PolicyRef, settings: GenerationSettings
) -> None:
    whole = generate(problems, policy, settings)
    assert tables(runtime) == [whole.digest]


@pytest.mark.parametrize("reached", [1, 2, 3, 4])
def test_shards_that_a_stop_left_behind_are_dropped_by_the_next_run(
    reached: int,
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two shards take four steps to be dropped: each its table, then its key."""
    steps = 0

    def counted(step: Callable[..., None]) -> Callable[..., None]:
        def call(*given: Any, **named: Any) -> None:
            nonlocal steps
            # another thread may drop what is its own, such as a lease that an earlier test held
            mine = threading.current_thread() is threading.main_thread()
            steps += mine
            if mine and steps == reached:
                raise KeyboardInterrupt
            step(*given, **named)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(KeyIndex, "remove", counted(KeyIndex.remove))
        patched.setattr(Path, "unlink", counted(Path.unlink))
        with pytest.raises(KeyboardInterrupt):
            generate(problems, policy, settings)
    whole = generate(problems, policy, settings)
    assert tables(runtime) == [whole.digest]
    assert len(list((runtime.store.root / "keys").glob("*.json"))) == 1


def test_a_run_that_was_cut_off_goes_on_at_the_shard_where_it_stopped(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    sampler: Sampler,
) -> None:
    sampler.fails_at = 2
    with pytest.raises(KeyboardInterrupt):
        generate(problems, policy, settings)
    assert len(tables(runtime)) == 1
    whole = generate(problems, policy, settings)
    assert sampler.calls == 3
    runtime.store.path(whole).unlink()
    assert generate(problems, policy, settings) == whole, "the same bytes as without a stop"


def test_shards_that_processes_sampled_together_are_kept_too(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = generate(problems, policy, settings)
    rows = runtime.store.read(alone)
    runtime.store.path(alone).unlink()
    asked: list[int] = []

    def together(*given: Any) -> dict[int, pa.Table]:
        asked.append(given[4])
        return {0: rows.slice(0, 8), 2: rows.slice(8)}

    def stopping(event: Event) -> None:
        if isinstance(event, ShardStored) and event.completions.rows == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(runtime, "group", object())
    monkeypatch.setattr("tasks.generate._sampled_together", together)
    with runtime.progress.listening(stopping), pytest.raises(KeyboardInterrupt):
        generate(problems, policy, settings)
    assert len(tables(runtime)) == 2
    assert generate(problems, policy, settings) == alone
    assert asked == [0], "the second time both were there"
    assert tables(runtime) == [alone.digest]


def test_a_damaged_shard_is_sampled_again(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    sampler: Sampler,
) -> None:
    sampler.fails_at = 2
    with pytest.raises(KeyboardInterrupt):
        generate(problems, policy, settings)
    (shard,) = (runtime.store.root / "completions").glob("*.parquet")
    shard.write_bytes(b"damaged")
    generate(problems, policy, settings)
    assert sampler.calls == 4


def test_progress_counts_all_completions_and_each_shard_is_told(
    runtime: Runtime, problems: TableRef, policy: PolicyRef, settings: GenerationSettings
) -> None:
    heard: list[Event] = []
    with runtime.progress.listening(heard.append):
        generate(problems, policy, settings, label="sampling", part=True)
    steps = [event for event in heard if isinstance(event, Progress)]
    assert {(step.work, step.total, step.unit, step.part) for step in steps} == {
        ("sampling", 12, "completions", True)
    }
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert done[-1] == 12
    shards = [event.completions.rows for event in heard if isinstance(event, ShardStored)]
    assert shards == [8, 4]


def test_a_single_shard_is_not_stored_beside_the_whole(
    runtime: Runtime, problems: TableRef, policy: PolicyRef, settings: GenerationSettings
) -> None:
    heard: list[Event] = []
    with runtime.progress.listening(heard.append):
        whole = generate(problems, policy, settings.model_copy(update={"shard_size": 3}))
    assert tables(runtime) == [whole.digest]
    assert not [event for event in heard if isinstance(event, ShardStored)]


def test_a_note_on_one_run_does_not_stand_beside_the_next(
    runtime: Runtime, problems: TableRef, policy: PolicyRef, settings: GenerationSettings
) -> None:
    def noting(event: Event) -> None:
        if isinstance(event, ShardStored):
            runtime.progress.note(event.work, "pass rate so far", "6 %")

    heard: list[Event] = []
    with runtime.progress.listening(noting):
        generate(problems, policy, settings)
    with runtime.progress.listening(heard.append):
        generate(problems, policy, settings.model_copy(update={"seed": 1}))
    assert {len(event.notes) for event in heard if isinstance(event, Progress)} == {0}
