"""What a server refuses is named, and can be set aside with everything that belongs to it."""

from __future__ import annotations

import pytest

from artifacts.doctor.examination import Examination
from artifacts.doctor.set_aside import SetAside
from artifacts.doctor.unsent import check_unsent
from artifacts.store.data_dir import DataDir
from artifacts.store.stored_bytes import StoredBytes
from artifacts.unsent.journal import SENT, Journal, begin_journal, unsent_folder

WHY = "MLflow refuses to keep file (RESOURCE_EXHAUSTED: too large)"


@pytest.fixture
def at(data_dir: DataDir) -> Examination:
    return Examination(data_dir, StoredBytes(), None, lambda: None)


@pytest.fixture
def refused(data_dir: DataDir) -> Journal:
    """A file whose second record is refused; its copies are `own` and `shared`."""
    copies = unsent_folder(data_dir) / "files"
    copies.mkdir(0o700, parents=True)
    journal = begin_journal(data_dir, "mlflow", "http://127.0.0.1:9")
    for name in ("own", "shared"):
        (copies / name).write_text(name)
        journal.keep({"call": "keep file", "run": "r", "file": f"unsent/files/{name}"})
    progress = Journal(journal.path.with_suffix(SENT))
    progress.keep({"sent": 1, "names": {}, "refused": WHY})
    progress.close()
    return journal


def test_a_refused_file_is_set_aside_whole_and_another_keeps_what_it_needs(
    refused: Journal, at: Examination, data_dir: DataDir
) -> None:
    assert list(check_unsent(at)) == [], "its writer goes on"
    refused.close()
    other = begin_journal(data_dir, "mlflow", "http://127.0.0.1:9")
    other.keep({"call": "keep file", "run": "r", "file": "unsent/files/shared"})
    other.close()
    found = {one.finding.where: one for one in check_unsent(at)}
    assert {one.finding.name for one in found.values()} == {"unsent", "refused-unsent"}
    one = found[str(refused.path.relative_to(data_dir.root))]
    assert one.finding.what.startswith(f"{WHY}; 1 of 2 records wait for mlflow at http://127")
    assert one.repair is not None

    aside = SetAside(data_dir)
    assert one.repair.do(aside) == "set aside, set aside, set aside"
    assert aside.folder is not None
    moved = sorted(path.name for path in aside.folder.rglob("*") if path.is_file())
    assert moved == sorted([refused.path.name, refused.path.with_suffix(SENT).name, "own"])
    left = sorted(path.name for path in unsent_folder(data_dir).rglob("*") if path.is_file())
    assert left == sorted([other.path.name, "shared"])
    assert [found.finding.name for found in check_unsent(at)] == ["unsent"]


def test_a_file_that_somebody_begins_to_send_is_not_moved(
    refused: Journal, at: Examination, data_dir: DataDir
) -> None:
    refused.close()
    (one,) = check_unsent(at)
    assert one.repair is not None
    sender = Journal(refused.path)
    assert one.repair.do(SetAside(data_dir)) is None
    assert refused.path.exists()
    sender.close()
    refused.path.unlink()
    with pytest.raises(FileNotFoundError):
        one.repair.do(SetAside(data_dir))


def test_what_is_refused_no_more_is_only_unsent(refused: Journal, at: Examination) -> None:
    refused.close()
    progress = Journal(refused.path.with_suffix(SENT))
    progress.keep({"sent": 1, "names": {}})
    progress.close()
    assert [one.finding.name for one in check_unsent(at)] == ["unsent"]
