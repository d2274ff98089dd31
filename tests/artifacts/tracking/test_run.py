"""A run in MLflow: what it says of itself, how it ends, and how it is opened again."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import PARENT, TAG
from artifacts.tracking.experiment import NOTE
from artifacts.tracking.run import Place, TrackedRun, flat, tracked_run
from artifacts.unsent.owned import OWNER
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.identity import file_digest
from schemas.instrument import Instrument
from schemas.loops import EVALUATION
from schemas.references import RunRef
from tests.artifacts.measuring import problems_table

CONFIG = EvalConfig(samples=2)
NOWHERE = Place()


def recorded(archive: Archive, run: TrackedRun) -> Any:
    return archive.tracking.client.get_run(run.run_id)


def note(archive: Archive, run: TrackedRun) -> str:
    return str(recorded(archive, run).data.tags[NOTE])


def test_a_run_that_ends_well_is_finished_and_says_what_it_is(archive: Archive) -> None:
    with tracked_run(archive, EVALUATION, CONFIG, NOWHERE) as run:
        assert recorded(archive, run).info.status == "RUNNING"
        assert note(archive, run).startswith("### running")
    found = archive.history.find(run.name)
    assert found.status == "FINISHED"
    assert run.name == f"eval-{run.run_id[:6]}"
    assert run.reference == RunRef(run_id=run.run_id, name=run.name)
    assert {k: found.tags[k] for k in ("loop", "loop_name", "changed")} == {
        "loop": "A", "loop_name": "evaluation", "changed": "nothing",
    }  # fmt: skip
    assert found.parameters["samples"] == "2"
    assert found.parameters["sampling.max_new_tokens"] == "16"
    assert found.config(EvalConfig) == CONFIG


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("oh"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_that_ends_early_keeps_the_reason(
    archive: Archive, error: BaseException, status: str
) -> None:
    with (
        pytest.raises(type(error)),
        tracked_run(archive, EVALUATION, CONFIG, NOWHERE) as run,
    ):
        raise error
    found = archive.history.find(run.run_id)
    assert found.status == status
    assert found.tags["error"] == f"{type(error).__name__}: {error}"
    assert note(archive, run).startswith("### ended without a result")


def test_who_slept_does_not_end_a_run_that_another_process_goes_on_with(archive: Archive) -> None:
    client = archive.tracking.client
    with (
        suppress(InputError),
        tracked_run(archive, EVALUATION, CONFIG, NOWHERE) as run,
    ):
        client.set_tag(run.run_id, OWNER, "another-machine:4026531836 77 12.0")
        client.set_terminated(run.run_id, "FINISHED")
        raise InputError("the checkpoint was not recorded")
    found = archive.history.find(run.name)
    assert found.status == "FINISHED"
    assert "error" not in found.tags


def test_a_run_that_goes_on_loses_its_error_and_tells_new_settings(archive: Archive) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        tracked_run(archive, EVALUATION, CONFIG, NOWHERE) as run,
    ):
        raise KeyboardInterrupt
    now = CONFIG.model_copy(update={"samples": 3})
    with tracked_run(archive, EVALUATION, now, Place(resume=run.run_id)) as again:
        assert recorded(archive, again).info.status == "RUNNING"
    assert (again.run_id, again.name) == (run.run_id, run.name)
    found = archive.history.find(run.run_id)
    assert found.status == "FINISHED"
    assert "error" not in found.tags
    assert found.tags["resumed_with.samples"] == "3"
    assert [tag for tag in found.tags if tag.startswith("resumed_with")] == ["resumed_with.samples"]
    assert found.config(EvalConfig) == now


def test_a_child_that_ended_early_is_opened_again_and_a_finished_one_is_not(
    archive: Archive,
) -> None:
    with tracked_run(archive, EVALUATION, CONFIG, NOWHERE) as parent:
        ids = []
        for stage in ("before, stopped", "after", "before", "before"):
            place = Place(parent=parent.run_id, stage=stage.split(",")[0])
            with suppress(ValueError), tracked_run(archive, EVALUATION, CONFIG, place) as child:
                ids.append(child.run_id)
                if "stopped" in stage:
                    raise ValueError
    assert ids[0] == ids[2] != ids[1]
    assert ids[3] not in ids[:3], "the one before has finished"
    with (
        pytest.raises(InputError, match="the run has finished"),
        tracked_run(archive, EVALUATION, CONFIG, Place(resume=ids[1])),
    ):
        pass
    found = archive.history.find(ids[1])
    assert (found.parent, found.stage) == (parent.run_id, "after")


def test_children_without_a_stage_are_each_a_run_of_their_own(archive: Archive) -> None:
    ids = set()
    for _ in range(2):
        with tracked_run(archive, EVALUATION, CONFIG, Place(parent="p")) as child:
            ids.add(child.run_id)
    assert len(ids) == 2


@pytest.fixture
def run(archive: Archive) -> TrackedRun:
    with tracked_run(archive, EVALUATION, CONFIG, NOWHERE) as made:
        return made


def test_tags_are_ours_and_no_longer_than_mlflow_takes(archive: Archive, run: TrackedRun) -> None:
    run.tag(long="x" * 6000)
    assert recorded(archive, run).data.tags[f"{TAG}long"] == "x" * 5000


def test_the_instrument_is_tagged_part_by_part(archive: Archive, run: TrackedRun) -> None:
    parts = ("dataset", "split", "prompt_template", "scorer", "sampling")
    instrument = Instrument(**{name: f"the {name}" for name in parts})
    run.instrument(instrument)
    tags = archive.history.find(run.run_id).tags
    assert tags["instrument"] == instrument.digest
    assert all(tags[f"instrument.{name}"] == f"the {name}" for name in parts)


def test_links_end_the_description_now_and_later(archive: Archive, run: TrackedRun) -> None:
    run.describe("first")
    run.link("[page](x)")
    assert note(archive, run) == "first\n\n[page](x)"
    run.describe("second")
    assert note(archive, run) == "second\n\n[page](x)"


def test_metrics_have_a_step_and_may_belong_to_a_model_and_a_dataset(
    archive: Archive, run: TrackedRun
) -> None:
    client = archive.tracking.client
    model = client.create_logged_model(archive.tracking.experiment_id, "mine")
    of = {"model_id": model.model_id, "dataset_name": "sums", "dataset_digest": "d"}
    run.metrics({"rate": 0.25}, step=1)
    run.metrics({"rate": 0.5}, step=2, of=of)
    values = client.get_metric_history(run.run_id, "rate")
    assert [(metric.step, metric.value) for metric in values] == [(1, 0.25), (2, 0.5)]
    (measured,) = client.get_logged_model(model.model_id).metrics or []
    assert (measured.value, measured.dataset_name, measured.dataset_digest) == (0.5, "sums", "d")


def test_a_table_is_named_by_its_digest_and_copied_where_it_is_wanted(
    archive: Archive, run: TrackedRun
) -> None:
    table = archive.store.write("problems", problems_table(1), producer="test")
    run.table("problems", table)
    run.table("others", table, copy=False)
    found = archive.history.find(run.run_id)
    assert found.table_refs() == dict.fromkeys(("problems", "others"), ("problems", table.digest))
    assert run.tables == {"problems": table, "others": table}
    copies = list((found.folder / "tables").iterdir())
    assert [copy.name for copy in copies] == ["problems.parquet"]
    assert not copies[0].is_symlink()
    assert file_digest(copies[0]) == table.digest


def test_files_and_models_are_kept_among_the_artifacts(
    archive: Archive, run: TrackedRun, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("text")
    run.file(tmp_path / "a.txt", "texts")
    run.record("settings.json", CONFIG)
    folder = archive.history.find(run.run_id).folder
    assert (run.artifact_folder("texts") / "a.txt").read_text() == "text"
    assert EvalConfig.model_validate_json((folder / "settings.json").read_bytes()) == CONFIG


def test_a_view_is_listed_once_and_shows_what_is_missing_as_null(
    archive: Archive, run: TrackedRun
) -> None:
    rows = pd.DataFrame({"completion": ["é", "b"], "logprob": [float("nan"), -0.5]})
    for _ in range(2):
        run.view(rows)
    run.view(rows, "other.json")
    text = (archive.history.find(run.run_id).folder / "completions_view.json").read_text()
    assert json.loads(text) == {
        "columns": ["completion", "logprob"],
        "data": [["é", None], ["b", -0.5]],
    }
    listed = json.loads(recorded(archive, run).data.tags["mlflow.loggedArtifacts"])
    assert [view["path"] for view in listed] == ["completions_view.json", "other.json"]


def test_nested_settings_are_flat_names_with_text_values() -> None:
    nested = {"a": "x", "b": {"c": None, "d": {"e": 1.5}}, "f": ["y", 1], "g": True}
    assert flat(nested) == {"a": "x", "b.c": "null", "b.d.e": "1.5", "f": '["y", 1]', "g": "true"}


def test_a_reason_that_no_database_can_hold_is_recorded_as_an_escape(archive: Archive) -> None:
    with (
        pytest.raises(ValueError, match="half"),
        tracked_run(archive, EVALUATION, EvalConfig(), Place()) as run,
    ):
        raise ValueError("half \ud800")
    found = archive.history.find(run.run_id)
    assert (found.status, found.tags["error"]) == ("FAILED", r"ValueError: half \ud800")


def test_a_record_that_cannot_be_written_does_not_hide_why_the_run_ended(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(archive.tracking.client, "set_terminated", full)
    with (
        pytest.raises(ValueError, match="the reason") as caught,
        tracked_run(archive, EVALUATION, EvalConfig(), Place()),
    ):
        raise ValueError("the reason")
    assert caught.value.__notes__ == ["the run's record could not be finished: no space left"]


def cut_off_after(archive: Archive, metrics: dict[str, float]) -> TrackedRun:
    """A run that ended early after it had logged these at its first step."""
    with (
        suppress(KeyboardInterrupt),
        tracked_run(archive, EVALUATION, CONFIG, NOWHERE) as run,
    ):
        run.metrics(metrics, step=1)
        raise KeyboardInterrupt
    return run


def test_a_run_that_was_stopped_before_it_had_its_parameters_gets_them(archive: Archive) -> None:
    client = archive.tracking.client
    tags = {f"{TAG}loop": "A", PARENT: "above", f"{TAG}stage": "after"}
    experiment = archive.tracking.experiment_id
    begun = client.create_run(experiment, tags=tags, run_name="eval").info.run_id
    client.set_terminated(begun, "KILLED")
    place = Place(parent="above", stage="after")
    with tracked_run(archive, EVALUATION, EvalConfig(samples=3), place) as run:
        assert run.run_id == begun
    found = archive.history.find(begun)
    assert found.parameters["samples"] == "3"
    assert found.name == f"eval-{begun[:6]}"
    assert not [tag for tag in found.tags if tag.startswith("resumed_with")]


def test_a_run_that_goes_on_logs_nothing_a_second_time(archive: Archive) -> None:
    run = cut_off_after(archive, {"reward": 0.5, "wall_seconds": 1.0})
    with tracked_run(archive, EVALUATION, CONFIG, Place(resume=run.run_id)) as again:
        again.metrics({"reward": 0.5, "wall_seconds": 2.0}, step=1)
        again.metrics({"reward": 0.5, "wall_seconds": 3.0}, step=2)
        again.metrics({"other": 0.25}, step=1)
    client = archive.tracking.client

    def logged(name: str) -> list[tuple[int, float]]:
        return [(one.step, one.value) for one in client.get_metric_history(run.run_id, name)]

    assert logged("reward") == [(1, 0.5), (2, 0.5)]
    assert logged("wall_seconds") == [(1, 1.0), (2, 3.0)]
    assert logged("other") == [(1, 0.25)]


def test_a_run_that_goes_on_logs_what_is_another_value_now(archive: Archive) -> None:
    run = cut_off_after(archive, {"reward": 0.5})
    with tracked_run(archive, EVALUATION, CONFIG, Place(resume=run.run_id)) as again:
        again.metrics({"reward": 0.25}, step=1)
    assert recorded(archive, run).data.metrics["reward"] == 0.25


def test_a_file_of_a_run_is_as_it_was_when_its_new_form_is_cut_off(
    archive: Archive, run: TrackedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run.artifact_folder("config.json")
    before = path.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    new = CONFIG.model_copy(update={"samples": 3})
    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        run.record("config.json", new)
    assert path.read_bytes() == before
    assert not list(archive.data_dir.root.rglob(".writing-*"))
