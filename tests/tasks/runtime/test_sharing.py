"""What several processes sample together is what one samples, and each finished shard is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from engines.in_process import complete
from policy.model.numerics import numerics
from policy.parallel.group import Group
from policy.parallel.place import Place
from schemas.config import Compute, GenerationSettings
from schemas.errors import InputError
from schemas.references import PolicyRef, TableRef
from tasks.generate import generate
from tasks.runtime.progress import Event, Progress, ShardStored
from tasks.runtime.runtime import Runtime
from tasks.runtime.sharing import Follower, find_everywhere

CPU = Compute(device="cpu", precision="float32")


class Both(Group):
    """Two processes in one: what rank 0 tells, the follower does when their work is put together.

    The work of both is the real one; only what passes between them takes no network.
    """

    def __init__(self, rank: int) -> None:
        self.place = Place(rank, 2, rank, 2)
        self.numerics = [numerics(CPU)] * 2
        self.told: list[Any] = []
        self.answer = b""
        self.follower: Follower | None = None

    def tell(self, message: Mapping[str, Any]) -> None:
        self.told.append(json.loads(json.dumps(message)))

    def together(self, work: Callable[[], bytes], *, divided: bool = False) -> list[bytes]:
        self.answer = work()
        if self.follower is None:
            return []
        self.follower._do(self.told[-1])
        return [self.answer, self.follower._group.answer]  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def alone(
    runtime: Runtime, problems: TableRef, policy: PolicyRef, settings: GenerationSettings
) -> Callable[[GenerationSettings], pa.Table]:
    """The completions of a process that is alone, which are no longer in the store."""

    def sampled(asked: GenerationSettings) -> pa.Table:
        assert runtime.group is None
        made = generate(problems, policy, asked)
        table = runtime.store.read(made)
        runtime.store.path(made).unlink()
        return table

    return sampled


@pytest.fixture
def group(runtime: Runtime) -> Both:
    """Rank 0, whose other process has the same data folder; `runtime` is not yet told of it."""
    made = Both(0)
    made.follower = Follower(Both(1), runtime.archive)
    return made


@pytest.fixture
def sampled_by(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The problems of each call of the sampler."""
    calls: list[list[str]] = []

    def counted(held: Any, problems: pa.Table, *given: Any, **named: Any) -> pa.Table:
        calls.append(problems["problem_id"].to_pylist())
        return complete(held, problems, *given, **named)

    monkeypatch.setattr("tasks.runtime.sharing.complete", counted)
    return calls


def test_a_measurement_has_the_bytes_of_one_process_whose_shards_are_divided(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    alone: Callable[[GenerationSettings], pa.Table],
    group: Both,
    sampled_by: list[list[str]],
) -> None:
    one = alone(settings)
    runtime.group = group
    two = runtime.store.read(generate(problems, policy, settings))
    assert two.equals(one, check_metadata=True)
    assert sampled_by == [["1+2", "2+2"], ["4+3"]], "each process one shard"


def test_all_shards_that_were_sampled_at_once_are_kept_at_once(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    group: Both,
    sampled_by: list[list[str]],
) -> None:
    runtime.group = group

    def stop(event: Event) -> None:
        if isinstance(event, ShardStored):
            raise KeyboardInterrupt

    with runtime.progress.listening(stop), pytest.raises(KeyboardInterrupt):
        generate(problems, policy, settings)
    kept = list((runtime.store.root / "completions").glob("*.parquet"))
    assert len(kept) == 2, "the second was sampled too when the first was told of"
    whole = generate(problems, policy, settings)
    assert len(sampled_by) == 2, "nothing is sampled again"
    assert list((runtime.store.root / "completions").glob("*.parquet")) == [
        runtime.store.path(whole)
    ]


def test_a_step_is_divided_by_problems_and_each_row_gets_the_tokens_it_has_in_one_process(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    alone: Callable[[GenerationSettings], pa.Table],
    group: Both,
    sampled_by: list[list[str]],
) -> None:
    of_step = settings.model_copy(update={"shard_size": 3, "for_step": True})
    one = alone(of_step)
    runtime.group = group
    by = runtime.numerics_of_steps(CPU)
    assert by.endswith(", 2 ranks")
    heard: list[Event] = []
    with runtime.progress.listening(heard.append):
        made = generate(problems, policy, of_step.model_copy(update={"computed_by": by}))
    two = runtime.store.read(made)
    assert sampled_by == [["1+2", "2+2"], ["4+3"]]
    rounded = ("logprobs", "sum_logprob")  # other rows in a batch round them differently
    exact = [name for name in one.column_names if name not in rounded]
    assert two.select(exact).equals(one.select(exact))
    assert two["sum_logprob"].to_pylist() == pytest.approx(one["sum_logprob"].to_pylist(), abs=1e-4)
    done = [event.done for event in heard if isinstance(event, Progress)]
    assert done[0] == 0
    assert done[-1] == 12, "the bar reaches its end though this process made a part of them"


def test_what_another_host_does_not_have_the_first_process_samples(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    alone: Callable[[GenerationSettings], pa.Table],
    group: Both,
    sampled_by: list[list[str]],
    tmp_path: Path,
) -> None:
    one = alone(settings)
    runtime.group = group
    group.follower = Follower(Both(1), Archive(DataDir(tmp_path / "elsewhere")))
    two = runtime.store.read(generate(problems, policy, settings))
    assert two.equals(one, check_metadata=True)


def test_a_host_without_the_model_is_found_before_anybody_computes(
    runtime: Runtime,
    policy: PolicyRef,
    group: Both,
    sampled_by: list[list[str]],
    tmp_path: Path,
) -> None:
    find_everywhere(group, policy)
    group.follower = Follower(Both(1), Archive(DataDir(tmp_path / "elsewhere")))
    unknown = PolicyRef(name=str(tmp_path / "gone"), digest=policy.digest)
    with pytest.raises(InputError, match="gone"):
        find_everywhere(group, unknown)
    assert sampled_by == []
