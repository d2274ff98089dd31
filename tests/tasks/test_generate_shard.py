"""A shard is sampled by whichever process is asked, if it is like the others, and only once."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from artifacts.store.keys import code_versions
from policy.model.load import load_policy
from policy.model.numerics import numerics
from schemas.config import Compute, GenerationSettings
from schemas.errors import InputError
from schemas.maker import Maker
from schemas.references import PolicyRef, TableRef
from tasks.generate import generate
from tasks.generate_shard import describe_worker, generate_shard, generation_key
from tasks.runtime.progress import Event, Progress, ShardStored
from tasks.runtime.runtime import Runtime
from tasks.runtime.workers import Workers

CPU = Compute(device="cpu", precision="float32")


@pytest.fixture
def maker() -> Maker:
    """What this process makes tables with."""
    return Maker(versions=code_versions(), numerics=numerics(CPU))


@pytest.fixture
def threads(runtime: Runtime) -> Iterator[Runtime]:
    """The runtime with threads as workers."""
    from flows.orchestration.thread_workers import thread_workers

    with thread_workers() as cluster:
        runtime.workers = Workers(cluster, runtime.progress.log_message)
        yield runtime
        runtime.workers = None


def kept(runtime: Runtime) -> list[str]:
    return [path.stem for path in (runtime.store.root / "completions").glob("*.parquet")]


def test_a_shard_that_is_there_is_not_sampled_again(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    maker: Maker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = generate_shard(problems, policy, settings, 2, maker)
    assert runtime.store.read(first)["problem_id"].to_pylist() == ["4+3"] * 4
    monkeypatch.setattr("engines.in_process.sample", None)
    assert generate_shard(problems, policy, settings, 2, maker) == first


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"numerics": "cpu float32 x86_64 AVX2 64 threads"}, "not cpu float32 .* 64 threads"),
        ({"versions": {"torch": "1.0"}}, "torch [0-9.+a-z]+, not 1.0"),
        ({"versions": {"numpy": "1.0"}}, "numpy none, not 1.0"),
    ],
)
def test_a_process_that_is_unlike_the_first_refuses(
    other: dict[str, object],
    said: str,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    maker: Maker,
) -> None:
    with pytest.raises(InputError, match=f"^the worker on .*: it is unlike .*{said};"):
        generate_shard(problems, policy, settings, 0, maker.model_copy(update=other))


def test_a_worker_says_what_it_makes_tables_with(
    problems: TableRef, policy: PolicyRef, maker: Maker
) -> None:
    assert describe_worker(problems, policy, CPU, apart=False) == maker


def test_a_worker_with_another_data_folder_says_so(
    problems: TableRef, policy: PolicyRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    with pytest.raises(InputError, match="^the worker on .*: its data folder .*/other lacks .*"):
        describe_worker(problems, policy, CPU, apart=False)


def test_a_worker_that_does_not_find_the_policy_says_so(problems: TableRef) -> None:
    policy = PolicyRef(name="mine", digest="d" * 64)
    with pytest.raises(InputError, match=r"lacks what this command has \(mine: .*THREELOOPS_STORE"):
        describe_worker(problems, policy, CPU, apart=False)


def test_a_worker_apart_has_to_know_prefects_server(problems: TableRef, policy: PolicyRef) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(InputError, match="it was started without PREFECT_API_URL"),
    ):
        describe_worker(problems, policy, CPU, apart=True)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        describe_worker(problems, policy, CPU, apart=True)


@pytest.mark.parametrize("status", [401, 403])
def test_a_worker_apart_that_prefects_server_does_not_let_in_says_so(
    status: int, problems: TableRef, policy: PolicyRef
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    class Gate(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(status)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Gate)
    Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/api"
    said = f"^the worker on .*: the Prefect server at {address} does not let it in; start workers"
    try:
        with (
            temporary_settings({PREFECT_API_URL: address}),
            pytest.raises(InputError, match=said),
        ):
            describe_worker(problems, policy, CPU, apart=True)
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_workers_make_the_bytes_that_this_process_makes(
    size: int,
    threads: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
) -> None:
    settings = settings.model_copy(update={"shard_size": size})
    by_workers = generate(problems, policy, settings)
    assert kept(threads) == [by_workers.digest], "shards are dropped once the whole is there"
    threads.workers = None
    threads.store.path(by_workers).unlink()
    assert generate(problems, policy, settings) == by_workers


def test_workers_are_given_the_shards_that_are_not_there(
    threads: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    maker: Maker,
) -> None:
    by = settings.model_copy(update={"shard_size": 1, "computed_by": maker.numerics})
    generate_shard(problems, policy, by, 1, maker)
    heard: list[Event] = []
    with threads.progress.listening(heard.append):
        generate(problems, policy, settings.model_copy(update={"shard_size": 1}), label="sampling")
    done = [event.done for event in heard if isinstance(event, Progress)]
    assert done == [4, 8, 12]
    shards = [event.completions.rows for event in heard if isinstance(event, ShardStored)]
    assert shards == [4, 4, 4]


class DiesAfterwards:
    """A task whose worker dies when the shard is kept, which Prefect is told nothing of."""

    @staticmethod
    def fn(**call: Any) -> TableRef:
        generate_shard(**call)
        raise EOFError


def test_a_shard_that_is_there_is_taken_though_its_worker_is_lost(
    threads: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tasks.generate.generate_shard", DiesAfterwards)
    monkeypatch.setattr(
        "flows.orchestration.thread_workers.ThreadWorkers.fate",
        lambda self, error: "they died" if isinstance(error, EOFError) else "",
    )
    assert generate(problems, policy, settings).rows == 12


@pytest.mark.parametrize("size", [1, 3])
def test_where_an_equal_run_was_first_and_dropped_the_shards_its_table_is_taken(
    size: int,
    threads: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    maker: Maker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings.model_copy(update={"shard_size": size})
    by = settings.model_copy(update={"computed_by": maker.numerics})
    first = generate(problems, policy, settings)
    path = threads.store.path(first)
    whole = path.read_bytes()
    path.unlink()

    class Late:
        """A task after which the equal run keeps its table and drops the shards."""

        @staticmethod
        def fn(**call: Any) -> TableRef:
            made = generate_shard(**call)
            path.write_bytes(whole)
            for start in range(0, 3, size):
                threads.store.drop(generation_key(problems, policy, by, shard_start=start))
            return made

    monkeypatch.setattr("tasks.generate.generate_shard", Late)
    assert generate(problems, policy, settings) == first
    assert first.digest in kept(threads)


def test_several_threads_load_a_model_once(
    threads: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[str] = []

    def counting(*given: object, **named: object) -> object:
        loaded.append(str(named["name"]))
        return load_policy(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", counting)
    generate(problems, policy, settings.model_copy(update={"shard_size": 1}))
    assert loaded == ["tiny"]


def test_a_policy_that_learns_is_sampled_in_its_own_process(
    threads: Runtime, problems: TableRef, policy: PolicyRef, settings: GenerationSettings
) -> None:
    held = threads.models.policy(policy, CPU)
    learning = policy.model_copy(update={"step": 3})

    class Learner:
        policy = held

    threads.models._learners[learning.digest] = Learner()  # type: ignore[assignment]

    def asked(*_: object) -> None:
        raise AssertionError("a worker was asked")

    assert threads.workers is not None
    threads.workers.ask = threads.workers.each = asked  # type: ignore[method-assign, assignment]
    assert generate(problems, learning, settings).rows == 12
