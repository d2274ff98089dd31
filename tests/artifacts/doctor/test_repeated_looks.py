"""A repair looks again: what is right by now, or being written, is not moved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.doctor.examination import Examination, Found
from artifacts.doctor.models import check_models
from artifacts.doctor.set_aside import SetAside
from artifacts.doctor.tables import check_keys
from artifacts.store import stored_bytes
from artifacts.store.data_dir import DataDir
from artifacts.store.keys import task_key
from artifacts.store.tables import Store
from policy.files.atomic_folder import being_written
from schemas.errors import StoreError

Look = Callable[[], Examination]
Repaired = Callable[[Iterable[Found]], list[str | None]]
DIGEST = sha256(b"one").hexdigest()


def test_a_model_that_is_complete_by_now_stays(
    tiny: str, look: Look, repaired: Repaired, data_dir: DataDir
) -> None:
    folder = data_dir.models / "hub" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    found = list(check_models(look()))
    assert [one.finding.name for one in found] == ["unusable-model"]
    with being_written(folder):
        assert repaired(found) == ["not repaired: another process uses it"]
    for path in Path(tiny).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert repaired(found) == [None]
    assert (folder / "config.json").exists()


@pytest.mark.parametrize("there", ["changing", "a folder"])
def test_a_file_that_cannot_be_judged_now_is_not_moved(
    there: str, look: Look, repaired: Repaired, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, path = look(), data_dir.root / "file"
    copy = data_dir.root / "copy"
    copy.write_bytes(b"one")
    at.stored.digest(copy)
    found = [at.found("changed-copy", path, "", at.copied(path, DIGEST))]
    if there == "a folder":
        path.mkdir()
        assert repaired(found) == ["not repaired: it cannot be read"]
        path.rmdir()
    else:
        path.write_bytes(b"two")
        monkeypatch.setattr(stored_bytes, "PAUSE", 0)
        monkeypatch.setattr(at.stored, "_on_read", lambda count: _grow(path))
        assert repaired(found) == ["not repaired: another process writes it"]
        monkeypatch.setattr(at.stored, "_on_read", lambda count: None)
    assert not (data_dir.root / "set-aside").exists()
    moved = "set aside, " if path.exists() else ""
    assert repaired(found) == [f"{moved}written again from copy"]
    assert path.read_bytes() == b"one"


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def test_a_table_that_goes_while_its_key_is_looked_at_is_no_error(
    look: Look, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(data_dir)
    key = task_key("problems", "t", parents={}, config={})
    store.keep(key, arithmetic("dev"))
    (path,) = (data_dir.tables / "keys").glob("*.json")
    kept = json.loads(path.read_bytes())
    assert list(check_keys(look())) == []
    path.write_text(json.dumps({**kept, "rows": 1}))
    assert [one.finding.name for one in check_keys(look())] == ["wrong-key"]

    def gone(*_: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(pq, "read_metadata", gone)
    assert list(check_keys(look())) == []


def test_what_lies_outside_of_the_data_folder_is_not_moved(
    data_dir: DataDir, tmp_path: Path
) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(StoreError, match="outside of the data folder"):
        SetAside(data_dir).move(tmp_path / "mine")
