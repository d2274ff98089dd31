"""Runs read by SQL are those that MLflow's client tells of, value by value."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.entities import ViewType

from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import PARENT, TAG
from artifacts.tracking.database import REVISION, _migrations
from artifacts.tracking.run import Place, tracked_run
from artifacts.tracking.sqlite_runs import FEW, Wanted
from schemas.config import EvalConfig
from schemas.loops import EVALUATION

LOOP = f"{TAG}loop"


@pytest.fixture
def kept(archive: Archive) -> list[str]:
    """The ids of more runs than are read one by one, the last of them deleted."""
    ids = []
    for number in range(FEW + 3):
        with tracked_run(archive, EVALUATION, EvalConfig(seed=number), Place()) as run:
            run.tag(stage="" if number else "before")
        ids.append(run.run_id)
        archive.tracking.client.log_metric(run.run_id, "rate", number / 7)
    archive.tracking.client.log_metric(ids[0], "rate", math.nan)
    archive.tracking.client.set_tag(ids[1], PARENT, ids[0])
    archive.tracking.client.delete_run(ids[-1])
    archive.tracking.client.create_run(archive.tracking.experiment_id)
    return ids


@pytest.mark.parametrize("deleted", [False, True])
def test_they_are_those_of_the_client(archive: Archive, kept: list[str], deleted: bool) -> None:
    by_sql, own = archive.tracking.by_sql, archive.tracking.experiment_id
    assert by_sql is not None
    told = archive.tracking.client.search_runs(
        [own], "", ViewType.ALL if deleted else ViewType.ACTIVE_ONLY, order_by=["start_time DESC"]
    )
    found = by_sql.search(Wanted([own], deleted=deleted))
    assert [run.info.run_id for run in found] == [run.info.run_id for run in told]
    assert (kept[-1] in {run.info.run_id for run in found}) is deleted
    for one, other in zip(found, told, strict=True):
        for name in ("run_name", "status", "start_time", "artifact_uri"):
            assert getattr(one.info, name) == getattr(other.info, name)
        assert dict(one.data.params) == other.data.params
        assert str(dict(one.data.metrics)) == str(other.data.metrics), "nan is not equal to itself"
        ours = {k: v for k, v in other.data.tags.items() if k.startswith(TAG) or k == PARENT}
        assert dict(one.data.tags) == ours


def test_what_is_wanted_is_found_and_nothing_else(archive: Archive, kept: list[str]) -> None:
    by_sql, own = archive.tracking.by_sql, archive.tracking.experiment_id
    assert by_sql is not None

    def ids(wanted: Wanted) -> set[str]:
        return {run.info.run_id for run in by_sql.search(wanted)}

    there = set(kept[:-1])
    assert ids(Wanted([own], tags=(LOOP,))) == there
    assert ids(Wanted([own], tags=("none", LOOP))) == there
    assert ids(Wanted([own], tags=("none",))) == set()
    assert ids(Wanted(["4711"], tags=(LOOP,))) == set()
    assert ids(Wanted(None, tags=(LOOP,))) == there
    assert ids(Wanted(None, deleted=True, tags=(LOOP,))) == set(kept)
    assert ids(Wanted([own], status="RUNNING")) == ids(Wanted([own])) - there
    name = archive.history.find(kept[2]).name
    for one in (kept[2], kept[2][:8], name):
        assert ids(Wanted([own], name=one)) == {kept[2]}
    archive.tracking.client.set_tag(kept[3], f"{TAG}identity", "mine")
    assert ids(Wanted([own], name="mine", also=f"{TAG}identity")) == {kept[3]}
    assert ids(Wanted([own], tags=(LOOP, f"{TAG}identity"), values=("mine",))) == {kept[3]}
    assert ids(Wanted([own], name="' or 1 --", also=f"{TAG}identity")) == set()


def test_the_revision_is_that_of_the_mlflow_that_is_installed() -> None:
    assert _migrations().get_current_head() == REVISION


def test_listing_runs_imports_no_mlflow(archive: Archive, kept: list[str]) -> None:
    archive.tracking.client.set_terminated(
        next(iter(set(_running(archive)) - set(kept))), "FINISHED"
    )
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from flows.cli.parser import main; main(['runs']); "
            "print({'mlflow', 'sqlalchemy', 'torch', 'prefect'} & set(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert said.stdout.splitlines()[-1] == "set()"
    assert archive.history.find(kept[-2]).name in said.stdout


def _running(archive: Archive) -> list[str]:
    by_sql = archive.tracking.by_sql
    assert by_sql is not None
    wanted = Wanted([archive.tracking.experiment_id], status="RUNNING")
    return [run.info.run_id for run in by_sql.search(wanted)]
