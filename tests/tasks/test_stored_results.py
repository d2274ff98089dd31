"""A stored result is taken only where its table says that it is what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.store.keys import task_key
from artifacts.store.parquet_table import provenance_of
from schemas.config import GenerationSettings
from schemas.identity import file_digest
from schemas.references import PolicyRef, TableRef
from tasks.generate import generate
from tasks.runtime.progress import ShardStored
from tasks.runtime.runtime import Runtime
from tasks.score import score

SCORER = "final_int@1"


@pytest.fixture
def whole(settings: GenerationSettings) -> GenerationSettings:
    """One shard, so that only the whole table gets a key."""
    return settings.model_copy(update={"shard_size": 3})


@pytest.fixture
def sample_with(
    problems: TableRef, policy: PolicyRef, whole: GenerationSettings
) -> Callable[[int], TableRef]:
    """A function from a seed to completions of the problems."""
    return lambda seed: generate(problems, policy, whole.model_copy(update={"seed": seed}))


def first_two(runtime: Runtime, problems: TableRef) -> TableRef:
    """Two of the problems, found or kept as a task does it."""
    store, parents = runtime.store, {"problems": problems.digest}
    key = task_key("problems", "first-two", parents=parents, config={"count": 2})
    return store.find(key) or store.keep(key, store.read(problems).slice(0, 2))


def key_to(runtime: Runtime, table: TableRef) -> Path:
    """The key file that leads to a table."""
    keys = (runtime.store.root / "keys").glob("*.json")
    (found,) = [path for path in keys if table.digest in path.read_text()]
    return found


def seed_of(runtime: Runtime, completions: TableRef) -> Any:
    return provenance_of(runtime.store.read(completions)).config["seed"]


def forged(runtime: Runtime, like: TableRef, change: Callable[[pa.Table], pa.Table]) -> TableRef:
    """A changed copy of a table, stored under the digest that its bytes have."""
    path = runtime.store.root / "forged.parquet"
    pq.write_table(change(pq.read_table(runtime.store.path(like))), path)
    made = TableRef(kind=like.kind, digest=file_digest(path), rows=pq.read_metadata(path).num_rows)
    path.rename(runtime.store.path(made))
    return made


def test_two_keys_that_were_swapped_do_not_swap_the_results(
    runtime: Runtime, sample_with: Callable[[int], TableRef], caplog: pytest.LogCaptureFixture
) -> None:
    zero, five = sample_with(0), sample_with(5)
    paths = [key_to(runtime, table) for table in (zero, five)]
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    assert (sample_with(0), sample_with(5)) == (zero, five)
    assert (seed_of(runtime, zero), seed_of(runtime, five)) == (0, 5)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    for line in lines:
        assert "is not what was asked for" in line
        assert "the result is computed anew" in line
        assert "\n" not in line
    assert [path.read_bytes() for path in paths] == contents, "what was wrong is put right"


def test_scores_that_were_made_otherwise_are_not_believed(
    runtime: Runtime, problems: TableRef, sample_with: Callable[[int], TableRef]
) -> None:
    completions = sample_with(0)
    honest = score(problems, completions, SCORER)

    def all_right(table: pa.Table) -> pa.Table:
        place = table.column_names.index("reward")
        better = table.set_column(place, table.field(place), pa.array([1.0] * len(table)))
        return better.replace_schema_metadata(None)

    wrong = forged(runtime, honest, all_right)
    key_to(runtime, honest).write_text(wrong.model_dump_json())
    assert score(problems, completions, SCORER) == honest


def test_a_key_that_leads_to_another_kind_of_table_is_a_miss(
    runtime: Runtime, problems: TableRef, sample_with: Callable[[int], TableRef]
) -> None:
    completions = sample_with(0)
    scores = score(problems, completions, SCORER)
    key_to(runtime, completions).write_text(scores.model_dump_json())
    assert sample_with(0) == completions


def test_a_key_with_another_number_of_rows_is_a_miss(runtime: Runtime, problems: TableRef) -> None:
    taken = first_two(runtime, problems)
    wrong = taken.model_copy(update={"rows": 3})
    key_to(runtime, taken).write_text(wrong.model_dump_json())
    assert first_two(runtime, problems) == taken


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "scores"}', "folder", b"\xff\xfe"])
def test_a_damaged_key_is_a_miss_and_is_made_anew(
    runtime: Runtime,
    problems: TableRef,
    content: str | bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken = first_two(runtime, problems)
    key = key_to(runtime, taken)
    key.unlink()
    if content == "folder":
        key.mkdir()
    else:
        key.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert first_two(runtime, problems) == taken
    (record,) = caplog.records
    assert "the result is computed anew" in record.getMessage()
    assert TableRef.model_validate_json(key.read_bytes()) == taken
    caplog.clear()
    assert first_two(runtime, problems) == taken
    assert not caplog.records


@pytest.mark.parametrize("damage", ["bytes", "one byte", "folder"])
def test_a_damaged_table_behind_a_key_is_a_miss_and_is_written_again(
    runtime: Runtime, problems: TableRef, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    taken = first_two(runtime, problems)
    path = runtime.store.path(taken)
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "bytes":
        path.write_bytes(b"damaged")
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert first_two(runtime, problems) == taken
    assert runtime.store.read(taken).num_rows == 2
    assert len(caplog.records) == 1


def test_a_table_that_is_gone_is_made_again_without_a_word(
    runtime: Runtime, problems: TableRef, caplog: pytest.LogCaptureFixture
) -> None:
    taken = first_two(runtime, problems)
    runtime.store.path(taken).unlink()
    assert first_two(runtime, problems) == taken
    assert runtime.store.read(taken).num_rows == 2
    assert not caplog.records


def test_a_wrong_shard_key_costs_no_other_run_its_table(
    runtime: Runtime,
    problems: TableRef,
    policy: PolicyRef,
    settings: GenerationSettings,
    sample_with: Callable[[int], TableRef],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = sample_with(5)
    keys = runtime.store.root / "keys"
    before = set(keys.glob("*.json"))
    with monkeypatch.context() as patch:
        patch.setattr(runtime.progress, "report", _cut)
        with pytest.raises(KeyboardInterrupt):
            generate(problems, policy, settings)
    for path in set(keys.glob("*.json")) - before:
        path.write_text(other.model_dump_json())
    generate(problems, policy, settings)
    assert runtime.store.path(other).exists()


def _cut(event: object) -> None:
    if isinstance(event, ShardStored):
        raise KeyboardInterrupt


def test_another_number_of_threads_is_another_result(
    runtime: Runtime, sample_with: Callable[[int], TableRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    first = sample_with(0)
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    assert sample_with(0) != first
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    assert sample_with(0) == first


def test_another_class_of_processor_is_another_result(
    sample_with: Callable[[int], TableRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sample_with(0)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "another")
    assert sample_with(0) != first


def test_exact_results_are_the_same_whatever_computes_them(
    runtime: Runtime,
    problems: TableRef,
    sample_with: Callable[[int], TableRef],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    completions = sample_with(0)
    scores, taken = (
        score(problems, completions, SCORER),
        first_two(runtime, problems),
    )
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    assert score(problems, completions, SCORER) == scores
    assert first_two(runtime, problems) == taken
