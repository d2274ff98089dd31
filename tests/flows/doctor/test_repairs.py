"""One repair that fails does not keep the others from theirs, and what was moved is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from artifacts.doctor.examination import Examination, Found, Repair
from artifacts.doctor.set_aside import SetAside
from artifacts.store.data_dir import DataDir
from flows.cli.render.doctor import print_doctor
from flows.doctor import visit as visits
from flows.doctor.visit import visit
from tasks.runtime.progress import Event, Message, ProgressHub

Do = Callable[[SetAside], str | None]


def _check(*repairs: Do) -> Callable[[Examination], Iterator[Found]]:
    """A check that finds as many files, while they are there."""

    def check(at: Examination) -> Iterator[Found]:
        for number, repair in enumerate(repairs):
            if (path := at.data_dir.root / str(number)).exists():
                yield at.found("half-written-file", path, "made up", Repair(repair))

    return check


def test_each_repair_that_fails_is_one_line_and_the_others_are_done(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [data_dir.root / str(number) for number in range(5)]
    for path in files:
        path.touch()

    def half(aside: SetAside) -> str:
        aside.move(files[0])
        raise FileNotFoundError("the copy")

    def defect(aside: SetAside) -> str:
        raise ZeroDivisionError("by nothing\nat all")

    def silent(aside: SetAside) -> str:
        raise KeyError

    def gone(aside: SetAside) -> str:
        raise FileNotFoundError

    repairs = (half, defect, silent, gone, lambda aside: aside.move(files[4]))
    monkeypatch.setattr(visits, "CHECKS", (_check(*repairs),))
    output = visit(data_dir.root, ProgressHub(), repair=True)
    assert {one.where: one.repaired for one in output.repaired} == {
        "0": "set aside, and then not repaired: the copy",
        "1": "not repaired: by nothing",
        "2": "not repaired: KeyError",
        "4": "set aside",
    }
    assert len(output.repaired) == 4, "what fails again is told once"
    assert output.set_aside is not None
    assert {path.name for path in Path(output.set_aside).iterdir()} == {"0", "4"}


def test_what_was_moved_is_told_also_where_the_next_look_fails(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir.root / "0").touch()

    def look(at: Examination) -> Iterator[Found]:
        if not (at.data_dir.root / "0").exists():
            raise ZeroDivisionError
        yield from _check(lambda aside: aside.move(data_dir.root / "0"))(at)

    said: list[Event] = []
    hub = ProgressHub()
    monkeypatch.setattr(visits, "CHECKS", (look,))
    with hub.listening(said.append), pytest.raises(ZeroDivisionError):
        visit(data_dir.root, hub, repair=True)
    assert Message("half-written-file  0: set aside") in said


def test_a_folder_that_goes_while_its_size_is_taken_is_no_error(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = data_dir.tables / "scores"
    going.mkdir(parents=True)
    (data_dir.tables / "one").touch()
    scanned = os.scandir

    def scandir(path: str | Path) -> object:
        if str(path) == str(going) and going.exists():
            going.rmdir()
        return scanned(path)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(visits, "CHECKS", ())
    assert visit(data_dir.root, ProgressHub(), repair=False).exists
    assert not going.exists()


def test_the_shared_store_is_named_and_one_that_is_away_is_damage(
    data_dir: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounted").mkdir()
    address = (tmp_path / "mounted").as_uri()
    monkeypatch.setattr(visits, "check_ports", lambda data_dir: iter(()))
    monkeypatch.setenv("THREELOOPS_STORE", address)
    output = visit(data_dir.root, ProgressHub(), repair=False)
    assert output.store == f"THREELOOPS_STORE={address}"
    assert "store-unusable" not in {one.name for one in output.findings}
    assert list((tmp_path / "mounted").iterdir()) == []
    monkeypatch.setenv("THREELOOPS_STORE", address + "/none")
    output = visit(data_dir.root, ProgressHub(), repair=False)
    assert (output.store, output.exit_code) == (None, 1)
    assert "store-unusable" in {one.name for one in output.findings}
    monkeypatch.delenv("THREELOOPS_STORE")  # what ends each test asks for the data folder


@pytest.mark.parametrize(
    "address", ["http://someone:secret@mlflow:5000", "postgresql://u:secret@h/d"]
)
def test_an_mlflow_that_is_not_looked_into_is_named(
    address: str, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "check_ports", lambda data_dir: iter(()))
    assert visit(data_dir.root, ProgressHub(), repair=False).mlflow is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", data_dir.tracking_uri)
    assert visit(data_dir.root, ProgressHub(), repair=False).mlflow is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    output = visit(data_dir.root, ProgressHub(), repair=False)
    assert output.mlflow is not None
    assert output.mlflow.startswith("MLFLOW_TRACKING_URI=")
    assert "secret" not in output.mlflow
    console = Console(record=True, width=80)
    print_doctor(console, output)
    assert "It is not looked into." in console.export_text()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
