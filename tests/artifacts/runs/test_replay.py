"""Stored completions come in only when they belong to the problems, every one to every one."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.datasets.problems import Datasets
from artifacts.runs.imported import answered_split, import_answers
from artifacts.runs.parts import first_of
from artifacts.runs.replay import check_source, stored_completions
from artifacts.store.data_dir import DataDir
from artifacts.store.tables import Store
from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.imported import Part
from schemas.loops import EVALUATION
from schemas.references import TableRef
from tests.artifacts.measuring import evaluated, learned, measure, training_table

IDS = arithmetic("dev").slice(0, 3)["problem_id"].to_pylist()
PROMPTS = arithmetic("dev").slice(0, 3)["prompt"].to_pylist()


@pytest.fixture
def problems(data_dir: DataDir) -> TableRef:
    return Store(data_dir).write("problems", arithmetic("dev").slice(0, 3), producer="t")


def answers(folder: Path, *rows: object) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def asked(folder: Path) -> Path:
    """The three problems as a dataset."""
    path = folder / "asked.jsonl"
    rows = arithmetic("dev").slice(0, 3).rename_columns({"problem_id": "id"}).to_pylist()
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_both_forms_of_a_line_come_in_and_keep_their_text(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    path = answers(
        tmp_path,
        {"id": IDS[2], "samples": ["Final: 1 ", {"completion": "", "finish_reason": "length"}]},
        {"id": IDS[0], "samples": ["a", "b"]},
        {"id": IDS[1], "samples": ["\ud800", "\n"]},
    )
    table = Store(data_dir).read(import_answers(path, Store(data_dir), problems)[1])
    assert table["problem_id"].to_pylist() == [i for i in IDS for _ in range(2)]
    assert table["text"].to_pylist() == ["a", "b", "\\ud800", "\n", "Final: 1 ", ""]
    assert table["finish_reason"].to_pylist() == ["stop"] * 5 + ["length"]
    assert table["sum_logprob"].null_count == 6


def test_recorded_log_probabilities_are_kept(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    path = answers(
        tmp_path,
        {"id": IDS[0], "completion": "a", "sum_logprob": -1.5, "token_count": 3},
        {"id": IDS[1], "completion": "b", "logprobs": [-1, -0.25]},
        {"id": IDS[2], "completion": "c"},
    )
    table = Store(data_dir).read(import_answers(path, Store(data_dir), problems)[1])
    assert table["sum_logprob"].to_pylist() == [-1.5, -1.25, None]
    assert table["token_count"].to_pylist() == [3, 2, None]
    assert table["logprobs"].to_pylist() == [None, [-1.0, -0.25], None]


GOOD = [{"id": identity, "completion": "x"} for identity in IDS]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "has no rows"),
        (
            [*GOOD, {"id": "strange", "completion": "x"}],
            "1 of 4 ids are not in this split of the dataset",
        ),
        (GOOD[:2], "1 of 3 problems have no completion .*--allow-missing"),
        ([*GOOD[:2], {"id": IDS[2], "samples": ["a", "b"]}], "different numbers of completions"),
        ([*GOOD, GOOD[0]], "row 4: id .* appears twice"),
        ([{"id": IDS[0]}], 'row 1: needs either "completion" or "samples"'),
        ([{"id": IDS[0], "completion": 4}], "row 1: completion is '4', not text"),
        ([{"id": IDS[0], "samples": []}], "row 1: samples is not a list"),
        ([{"id": IDS[0], "completion": "x", "finish_reason": "eos"}], "finish_reason is 'eos'"),
        ([{"completion": "x"}], "row 1: id is missing"),
        ([GOOD[0] | {"sum_logprob": 1}], "row 1: the log-probability '1' is no number up to 0"),
        ([GOOD[0] | {"token_count": 1.5}], "row 1: token_count is 1.5, not a whole number"),
        ([GOOD[0] | {"logprobs": -1}], "row 1: logprobs is not a list"),
        ([{"id": IDS[0], "completion": None}], "row 1: completion is null, not text"),
        ([*GOOD[:2], GOOD[2] | {"expected_answer": 12345}], "row 3: expects 12345 for problem"),
        ([*GOOD[:2], GOOD[2] | {"expected_answer": "12345"}], "row 3: expects 12345 for problem"),
        ([GOOD[0] | {"prompt": PROMPTS[1]}, *GOOD[1:]], "row 1: names problem .* and shows the"),
    ],
)
def test_what_does_not_belong_together_is_counted_and_refused(
    data_dir: DataDir, problems: TableRef, tmp_path: Path, rows: list[object], reason: str
) -> None:
    path = answers(tmp_path, *rows)
    with pytest.raises(InputError, match=reason):
        import_answers(path, Store(data_dir), problems)
    with pytest.raises(InputError, match=reason):  # and before a run begins
        answered_split(Datasets(), str(asked(tmp_path)), path)


def test_what_an_exported_run_repeats_of_its_problems_is_accepted(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    told = arithmetic("dev").slice(0, 3).select(["prompt", "expected_answer"]).to_pylist()
    path = answers(tmp_path, *(one | more for one, more in zip(GOOD, told, strict=True)))
    assert answered_split(Datasets(), str(asked(tmp_path)), path) == "dev"
    import_answers(path, Store(data_dir), problems)


def test_an_answer_that_is_there_twice_is_refused(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    path = answers(tmp_path, *GOOD[:2])
    path.write_text(
        f'{path.read_text()}\n{{"id": "{IDS[2]}", "completion": "a", "completion": "b"}}'
    )
    with pytest.raises(InputError, match="row 3: the key 'completion' is there twice; leave one"):
        import_answers(path, Store(data_dir), problems)


def test_a_table_of_ours_brings_its_problems(
    archive: Archive, problems: TableRef, tmp_path: Path
) -> None:
    _, made = import_answers(answers(tmp_path, *GOOD), archive.store, problems)
    kept = archive.store.path(made)
    (tmp_path / "COPY.PARQUET").write_bytes(kept.read_bytes())
    for path in (kept, tmp_path / "COPY.PARQUET"):
        assert stored_completions(archive, str(path)) == (problems, made)


def test_someone_elses_table_is_refused(archive: Archive, tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="a completions table has problem_id"):
        stored_completions(archive, str(tmp_path / "t.parquet"))
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(InputError, match="is not a readable Parquet file"):
        stored_completions(archive, str(tmp_path / "text.parquet"))
    with pytest.raises(InputError, match="no such file"):
        stored_completions(archive, str(tmp_path / "none.parquet"))
    with pytest.raises(InputError, match="no such run"):
        stored_completions(archive, "no-run")


def test_a_cut_keeps_problems_and_completions_together(
    data_dir: DataDir, problems: TableRef, tmp_path: Path
) -> None:
    store = Store(data_dir)
    _, made = import_answers(answers(tmp_path, *GOOD), store, problems)
    fewer, cut = first_of(store, problems, made, Part(limit=2), "f")
    assert store.read(fewer)["problem_id"].to_pylist() == IDS[:2]
    assert store.read(cut)["problem_id"].to_pylist() == IDS[:2]
    assert first_of(store, problems, made, Part(limit=9), "f") == (problems, made)


def test_a_completions_table_that_names_no_problems_is_refused(
    archive: Archive, problems: TableRef, tmp_path: Path
) -> None:
    store = archive.store
    made = store.read(import_answers(answers(tmp_path, *GOOD), store, problems)[1])
    pq.write_table(made.replace_schema_metadata(None), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="does not say which problems it answers"):
        stored_completions(archive, str(tmp_path / "t.parquet"))


def test_a_run_brings_its_problems_and_a_learning_run_what_it_measured_after(
    archive: Archive,
) -> None:
    store = archive.store
    before, after = measure(store, "w"), measure(store, "r")
    for run, measured in (
        (evaluated(archive, before), before),
        (learned(archive, before, after, training_table(store, before)), after),
    ):
        found = stored_completions(archive, run.name)
        assert found == (measured.problems, measured.completions)


def test_a_run_without_completions_is_refused(archive: Archive) -> None:
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as run:
        pass
    with pytest.raises(InputError, match="the run has no completions; name one that finished"):
        stored_completions(archive, run.name)


def test_a_jsonl_file_needs_its_dataset(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a dataset; add --dataset FILE"):
        stored_completions(archive, str(answers(tmp_path, *GOOD)))


@pytest.mark.parametrize("name", ["none.jsonl", "none.PARQUET"])
def test_a_file_that_is_not_there_is_refused_before_any_work(
    archive: Archive, problems: TableRef, tmp_path: Path, name: str
) -> None:
    with pytest.raises(InputError, match=f"--completions .*{name}: no such file"):
        check_source(archive.history, str(tmp_path / name))
    with pytest.raises(InputError, match=f"--completions .*{name}: no such file"):
        stored_completions(archive, str(tmp_path / name), problems)


def test_a_source_that_is_there_is_accepted_unread(archive: Archive, tmp_path: Path) -> None:
    run = evaluated(archive, measure(archive.store, "r"))
    (tmp_path / "answers").touch()
    for source in (run.name, str(tmp_path / "answers"), str(answers(tmp_path, *GOOD))):
        check_source(archive.history, source)
    with pytest.raises(InputError, match="no such run"):
        check_source(archive.history, "no-run")
