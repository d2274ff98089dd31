"""Runs are found by id, by the start of an id, or by name; their results by their format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import CONFIG_FILE, PARENT, RESULT_FILE, TAG
from artifacts.tracking.files import LocalFiles
from artifacts.tracking.history import RunRecord, named_so
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.loops import DEMO, EVALUATION, LEARNING, Loop
from schemas.results import EvalResult


def opened(archive: Archive, loop: Loop = EVALUATION, place: Place | None = None) -> RunRecord:
    with tracked_run(archive, loop, EvalConfig(), place or Place()) as run:
        pass
    return archive.history.find(run.run_id)


def test_a_run_is_found_by_its_id_its_start_or_its_name(archive: Archive) -> None:
    run = opened(archive)
    for name in (run.run_id, run.run_id[:4], run.name):
        assert archive.history.find(name) == run


def test_a_name_of_several_runs_means_the_newest(archive: Archive) -> None:
    older, newer = opened(archive), opened(archive)
    for run in (older, newer):
        archive.tracking.client.update_run(run.run_id, name="mine")
    assert newer.started_ms >= older.started_ms
    newest = max((older, newer), key=lambda run: run.started_ms)
    assert archive.history.find("mine").started_ms == newest.started_ms


def test_what_names_no_run_or_several_is_refused(archive: Archive) -> None:
    run = opened(archive)
    for name in ("none", run.run_id[:3], ""):
        with pytest.raises(InputError, match="no such run; `threeloops runs` lists them"):
            archive.history.find(name)


def test_a_start_that_several_runs_share_is_refused(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(archive)
    monkeypatch.setattr(archive.history, "_records", lambda found: [run, run])
    with pytest.raises(InputError, match="2 runs begin with it"):
        archive.history.find(run.run_id[:4])


def test_the_loops_leave_out_demos_and_the_parts_of_a_learning_run(archive: Archive) -> None:
    demo = opened(archive, DEMO)
    learning = opened(archive, LEARNING, Place(parent=demo.run_id))
    part = opened(archive, EVALUATION, Place(parent=learning.run_id, stage="before"))
    alone = opened(archive)
    ids = {run.run_id for run in archive.history.loops()}
    assert ids == {learning.run_id, alone.run_id}
    assert {run.run_id for run in archive.history.every()} == ids | {demo.run_id, part.run_id}


def test_runs_of_others_in_the_experiment_are_no_runs_of_ours(archive: Archive) -> None:
    archive.tracking.client.create_run(archive.tracking.experiment_id)
    assert archive.history.every() == []
    assert len(archive.history.mlflow_runs()) == 1


def keep(run: RunRecord, content: object) -> None:
    (run.folder / RESULT_FILE).write_text(json.dumps(content))


def test_a_result_comes_back_as_it_was_kept(archive: Archive, evaluation: EvalResult) -> None:
    run = opened(archive)
    assert run.result() is None
    keep(run, evaluation.as_json())
    assert run.result() == evaluation


def test_a_result_of_format_2_is_read(archive: Archive, evaluation: EvalResult) -> None:
    run, old = opened(archive), evaluation.as_json() | {"format": 2}
    for part in ("metrics", "intervals"):
        old[part]["right_format"] = old[part].pop("valid_format_rate")
    keep(run, old)
    assert run.result() == evaluation


@pytest.mark.parametrize("change", [{"format": 1}, {"format": 99}, {"metrics": {}}])
def test_a_result_that_cannot_be_read_any_more_is_refused(
    archive: Archive, evaluation: EvalResult, change: dict[str, object]
) -> None:
    run = opened(archive)
    keep(run, evaluation.as_json() | change)
    with pytest.raises(InputError, match="recorded by another version of threeloops"):
        run.result()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_result_is_refused_in_one_line(archive: Archive, content: bytes) -> None:
    run = opened(archive)
    (run.folder / RESULT_FILE).write_bytes(content)
    with pytest.raises(InputError, match="its result is damaged") as caught:
        run.result()
    assert str(run.folder / RESULT_FILE) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_place_of_a_result_is_refused_in_one_line(archive: Archive) -> None:
    run = opened(archive)
    (run.folder / RESULT_FILE).mkdir()
    with pytest.raises(InputError, match="its result is damaged"):
        run.result()


@pytest.mark.parametrize("change", [{"loop": "D"}, {"loop": None}, {"loop": ["A"]}])
def test_a_result_of_no_loop_is_refused(
    archive: Archive, evaluation: EvalResult, change: dict[str, object]
) -> None:
    run = opened(archive)
    keep(run, evaluation.as_json() | change)
    with pytest.raises(InputError, match="recorded by another version of threeloops"):
        run.result()


def test_tables_are_told_by_name_kind_and_digest() -> None:
    tags = {"table.scores_after": "scores:abc", "table.problems": "problems:d:e", "stage": "x"}
    run = RunRecord("id", "name", LEARNING, "FINISHED", 0, {}, {}, tags, lambda: LocalFiles(Path()))
    assert run.table_refs() == {"scores_after": ("scores", "abc"), "problems": ("problems", "d:e")}
    assert run.stage == "x"


def test_every_page_of_a_long_history_is_read(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        opened(archive)
    client, whole = archive.tracking.client, archive.history.every()
    real = client.search_runs

    def one_at_a_time(*arguments: Any, **named: Any) -> Any:
        return real(*arguments, **(named | {"max_results": 1}))

    monkeypatch.setattr(client, "search_runs", one_at_a_time)
    assert archive.history.every() == whole
    assert len(whole) == 3


@pytest.mark.parametrize("content", [None, "{}x", '{"no_such_setting": 1}'])
def test_a_configuration_that_cannot_be_read_is_refused(
    archive: Archive, content: str | None
) -> None:
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as run:
        pass
    found = archive.history.find(run.run_id)
    path = found.folder / CONFIG_FILE
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(InputError, match=f"run {found.name}: its configuration cannot be read"):
        found.config(EvalConfig)


def test_runs_are_found_by_the_policy_that_they_measured_or_made(archive: Archive) -> None:
    measured, learned, other = opened(archive), opened(archive, LEARNING), opened(archive)
    client = archive.tracking.client
    client.set_tag(measured.run_id, f"{TAG}model_digest", "a" * 64)
    client.set_tag(learned.run_id, f"{TAG}model_digest_after", "b" * 64)
    client.set_tag(other.run_id, f"{TAG}model_digest", "c" * 64)
    found = archive.history.loops_with(["a" * 64, "b" * 64])
    assert {run.run_id for run in found} == {measured.run_id, learned.run_id}
    assert [run.run_id for run in archive.history.learned()] == [learned.run_id]


def test_the_parts_of_a_learning_run_are_found_by_it(archive: Archive) -> None:
    with tracked_run(archive, LEARNING, EvalConfig(), Place()) as whole:
        pass
    part, _ = opened(archive), opened(archive)
    archive.tracking.client.set_tag(part.run_id, PARENT, whole.run_id)
    assert [run.run_id for run in archive.history.parts_of(whole.run_id)] == [part.run_id]
    assert archive.history.parts_of(part.run_id) == []


def test_a_run_is_found_by_its_whole_id_alone(archive: Archive) -> None:
    run = opened(archive)
    assert archive.history.with_id(run.run_id) == run
    assert archive.history.with_id(run.run_id[:8]) is None
    assert archive.history.with_id(run.name) is None


def test_a_name_is_asked_of_an_mlflow_elsewhere_before_an_id() -> None:
    assert named_so("eval-1a2b3c")[0] == "attributes.run_name = 'eval-1a2b3c'"
    assert named_so("0" * 32)[0] == f"attributes.run_id LIKE '{'0' * 32}%'"
    assert [one.partition(" ")[0] for one in named_so("1a2b")] == [
        "attributes.run_name", "tags.`threeloops.identity`", "attributes.run_id",
    ]  # fmt: skip
    assert named_so("it's") == named_so("") == []
