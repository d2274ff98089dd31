"""Lineage where machines share a store: what is not on this one is fetched, and compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from artifacts.lineage.chain import lineage_of
from artifacts.registry.versions import register_version, registered_version
from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.tables import table_name
from artifacts.tracking.archive import Archive
from tests.artifacts.measuring import evaluated, measure, policy_in


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderObjects:
    """A folder that machines share."""
    (tmp_path / "mounted").mkdir()
    monkeypatch.setenv("THREELOOPS_STORE", (tmp_path / "mounted").as_uri())
    return FolderObjects(tmp_path / "mounted")


def test_tables_that_only_the_shared_store_has_are_compared_too(
    archive: Archive, mounted: FolderObjects
) -> None:
    here = Archive(archive.data_dir)
    measured = measure(here.store, "rrw", "rwc")
    run = evaluated(here, measured)
    shutil.rmtree(here.data_dir.tables)
    found = lineage_of(Archive(archive.data_dir), run.name)
    assert [link.role for link in found.links] == ["dataset", "completions", "scores"]
    assert found.intact

    shutil.rmtree(here.data_dir.tables)
    mounted.put(table_name("scores", measured.scores.digest), b"damaged")
    found = lineage_of(Archive(archive.data_dir), run.name)
    assert [link.state for link in found.links] == ["matches", "matches", "missing"]


def test_weights_are_fetched_when_they_are_used_and_not_when_a_version_is_found(
    archive: Archive, mounted: FolderObjects, tmp_path: Path
) -> None:
    here = Archive(archive.data_dir)
    policy = policy_in(here, tmp_path / "made")
    here.folders.share(tmp_path / "made")
    run = evaluated(here, measure(here.store, "rrw", policy=policy))
    register_version(here, "mine", policy, tmp_path / "made", run.run_id, "a card")
    shutil.rmtree(tmp_path / "made")
    version = registered_version(Archive(archive.data_dir), "models:/mine/1")
    copies = archive.data_dir.models / f"policy-{policy.digest}"
    assert not copies.exists()
    assert version.folder == copies
    assert version.intact()
