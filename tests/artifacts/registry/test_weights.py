"""The weights of a version that MLflow keeps elsewhere: fetched once, whole or not at all."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.registry.weights import FetchedWeights
from artifacts.store.atomic_file import remove_leftovers
from artifacts.store.shared.folder import FolderObjects
from artifacts.tracking.archive import Archive
from policy.model.load import fingerprint
from policy.model.tiny import make_tiny_model


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders into which MLflow was asked to write a tiny policy."""
    made = make_tiny_model(tmp_path / "made")
    asked: list[Path] = []

    def give(*, artifact_uri: str, dst_path: str, **of_server: object) -> str:
        asked.append(Path(dst_path))
        return str(shutil.copytree(made, Path(dst_path) / "artifacts"))

    monkeypatch.setattr("mlflow.artifacts.download_artifacts", give)
    return asked


@pytest.fixture
def weights(archive: Archive, fetched: list[Path], tmp_path: Path) -> FetchedWeights:
    digest = fingerprint(tmp_path / "made")
    return FetchedWeights(archive, "models:/served/1", "mlflow-artifacts:/served", digest)


def test_of_two_who_need_a_version_one_fetches_it(
    weights: FetchedWeights, fetched: list[Path], tmp_path: Path
) -> None:
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: weights.folder(), range(2)))
    assert folders[0] == folders[1]
    assert fingerprint(folders[0]) == weights.digest
    assert len(fetched) == 1
    names = {path.name for path in folders[0].iterdir()}
    assert names == {path.name for path in (tmp_path / "made").iterdir()}


def test_what_is_damaged_in_the_shared_store_is_fetched_from_mlflow(
    weights: FetchedWeights,
    fetched: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "mounted").mkdir()
    monkeypatch.setenv("THREELOOPS_STORE", (tmp_path / "mounted").as_uri())
    sharing = Archive(weights.archive.data_dir)
    sharing.folders.share(tmp_path / "made")
    weights = replace(weights, archive=sharing)
    for name in FolderObjects(tmp_path / "mounted").list("files"):
        (tmp_path / "mounted" / name).write_bytes(b"damaged")
    assert fingerprint(weights.folder()) == weights.digest
    assert len(fetched) == 1
    assert "they were changed after they were written; MLflow is asked for it" in caplog.text


def test_what_a_killed_fetch_leaves_goes_with_the_next_command(
    weights: FetchedWeights, fetched: list[Path], archive: Archive
) -> None:
    place = weights.folder()
    fetched[0].mkdir(parents=True)
    (fetched[0] / "model.safetensors").write_bytes(b"half")
    remove_leftovers(archive.data_dir)
    assert not fetched[0].exists()
    assert fingerprint(place) == weights.digest


def test_a_version_is_compared_beside_the_copy_that_others_may_be_reading(
    weights: FetchedWeights, fetched: list[Path], tmp_path: Path
) -> None:
    with weights.as_kept() as first:
        assert first == weights.folder(), "what is fetched first is kept"
    before = {path: path.stat().st_ino for path in (first, *first.iterdir())}
    (tmp_path / "made" / "config.json").write_text("{}")  # where MLflow keeps it
    with weights.as_kept() as now:
        assert (now / "config.json").read_text() == "{}"
        assert fingerprint(first) == weights.digest
    assert len(fetched) == 2
    assert {path: path.stat().st_ino for path in (first, *first.iterdir())} == before
    assert [path for path in first.parent.iterdir() if path.is_dir()] == [first]


def test_of_two_who_compare_a_version_none_takes_the_folder_of_the_other(
    weights: FetchedWeights, fetched: list[Path]
) -> None:
    weights.folder()
    with weights.as_kept() as one, weights.as_kept() as two:
        assert one != two
        assert fingerprint(one) == fingerprint(two) == weights.digest
