"""A decision that was stopped says why; what it had given is finished, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.promotion.cut_off import ERROR, broken_off, settle_cut_off
from artifacts.promotion.decisions import (
    DECISION_FILE,
    RECORD_DIGEST,
    SETTLED,
    all_decisions,
    begin_decision,
    champion_since_ms,
)
from artifacts.promotion.gate import decide
from artifacts.registry.versions import (
    RegisteredVersion,
    champion_of,
    make_champion,
    register_version,
    registered_version,
)
from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.lease import Lease, Watch
from artifacts.store.shared.owners import owner_lease
from artifacts.tracking.archive import Archive
from artifacts.tracking.experiment import local_path
from artifacts.tracking.owner import CUT_OFF, LEASE
from artifacts.unsent.owned import OWNER
from schemas.results import Decision
from tests.artifacts.promotion.conftest import Learning, record_decision, tags_of

pytestmark = pytest.mark.slow


def killed(*_: object) -> None:
    raise KeyboardInterrupt


def close_running(archive: Archive) -> None:
    """What the next command does with the run of one that was killed."""
    (cut_off,) = (run for run in archive.history.mlflow_runs() if run.info.status == "RUNNING")
    archive.tracking.client.set_tag(cut_off.info.run_id, ERROR, CUT_OFF)
    archive.tracking.client.set_terminated(cut_off.info.run_id, "KILLED")


def killed_once_it_is_settled(_: str, tag: str, value: str) -> None:
    if tag not in (RECORD_DIGEST, SETTLED):  # which are set before the alias is given
        raise KeyboardInterrupt


@pytest.mark.parametrize("last", ["set_tag", "set_model_version_tag", "set_terminated"])
def test_a_promotion_that_was_killed_after_it_gave_the_alias_is_finished_by_the_next_command(
    archive: Archive, learning: Learning, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    client = archive.tracking.client
    decided = decide(archive, learning.version, 0.0)

    with monkeypatch.context() as patched:
        patched.setattr(client, last, killed_once_it_is_settled if last == "set_tag" else killed)
        with pytest.raises(KeyboardInterrupt):
            record_decision(archive, learning.version, decided)
    close_running(archive)
    assert champion_of(archive, "mine") == learning.version
    assert all_decisions(archive.history) == []
    settled = settle_cut_off(archive, "mine")
    assert settled is not None
    (found,) = all_decisions(archive.history)
    assert found.result() == settled == decided.model_copy(update={"run_id": found.run_id})
    assert tags_of(archive)["decision_run"] == found.run_id
    assert settle_cut_off(archive, "mine") is None, "once"


def test_a_promotion_that_was_killed_on_another_machine_is_finished_where_it_shares_the_store(
    archive: Archive, learning: Learning, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, far = archive.tracking.client, "another-machine:4026531836 77 12.0"
    decided = decide(archive, learning.version, 0.0)
    with monkeypatch.context() as patched:
        patched.setattr("artifacts.promotion.decisions.settle", killed)
        with pytest.raises(KeyboardInterrupt):
            record_decision(archive, learning.version, decided)
    (running,) = (run for run in archive.history.mlflow_runs() if run.info.status == "RUNNING")
    for tag, value in ((OWNER, far), (LEASE, owner_lease(far))):
        client.set_tag(running.info.run_id, tag, value)
    assert settle_cut_off(archive, "mine") is None

    (tmp_path / "mounted").mkdir()
    monkeypatch.setenv("THREELOOPS_STORE", (tmp_path / "mounted").as_uri())
    sharing = Archive(archive.data_dir)
    assert settle_cut_off(sharing, "mine") is None, "that machine has another store"
    lease = Lease(FolderObjects(tmp_path / "mounted"), owner_lease(far))
    assert lease.try_acquire(Watch())
    settled = settle_cut_off(sharing, "mine")
    assert settled is not None
    assert settled.run_id == running.info.run_id


def test_a_promotion_that_was_killed_before_the_alias_is_decided_anew(
    archive: Archive, learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    decided = decide(archive, learning.version, 0.0)
    monkeypatch.setattr("artifacts.promotion.decisions.make_champion", killed)
    with pytest.raises(KeyboardInterrupt):
        record_decision(archive, learning.version, decided)
    close_running(archive)
    assert settle_cut_off(archive, "mine") is None
    assert champion_of(archive, "mine") is None


@pytest.fixture
def killed_with_the_alias(
    archive: Archive, learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> Decision:
    """Version 1 of `mine` was given the alias, and its promotion was killed then."""
    decided = decide(archive, learning.version, 0.0)
    with monkeypatch.context() as patched:
        patched.setattr("artifacts.promotion.decisions.settle", killed)
        with pytest.raises(KeyboardInterrupt):
            record_decision(archive, learning.version, decided)
    close_running(archive)
    return decided


def another(archive: Archive, learning: Learning, name: str) -> RegisteredVersion:
    """The same weights under another name or number."""
    made = register_version(
        archive,
        name,
        learning.trained,
        archive.folders.find(learning.trained),
        f"{name} of another run",
        "a card",
    )
    return registered_version(archive, made.name)


def promoted(archive: Archive, decided: Decision, version: RegisteredVersion) -> Decision:
    """A decision like this one, on another version."""
    candidate = decided.candidate.model_copy(update={"name": version.name})
    update = {"candidate": candidate, "champion": version.name}
    return record_decision(archive, version, decided.model_copy(update=update))


def test_a_promotion_under_another_name_hides_none_that_was_killed(
    archive: Archive, learning: Learning, killed_with_the_alias: Decision
) -> None:
    promoted(archive, killed_with_the_alias, another(archive, learning, "other"))
    settled = settle_cut_off(archive, "mine")
    assert settled is not None
    assert settled.candidate.name == "models:/mine/1"
    assert champion_since_ms(archive, learning.version) > 0
    assert settle_cut_off(archive, "other") is None
    run = archive.tracking.client.get_run(settled.run_id)
    assert (run.info.status, ERROR in run.data.tags) == ("FINISHED", False)


def test_a_promotion_that_is_finished_later_counts_from_when_it_was_decided(
    archive: Archive, learning: Learning, killed_with_the_alias: Decision
) -> None:
    time.sleep(0.05)
    later = time.time_ns() // 1_000_000
    settle_cut_off(archive, "mine")
    assert 0 < champion_since_ms(archive, learning.version) < later


def test_a_promotion_whose_run_nobody_has_closed_yet_is_finished(
    archive: Archive, learning: Learning, killed_with_the_alias: Decision
) -> None:
    client = archive.tracking.client
    (run,) = (run for run in archive.history.mlflow_runs() if SETTLED in run.data.tags)
    client.update_run(run.info.run_id, status="RUNNING")
    assert settle_cut_off(archive, "mine") is None, "its process goes on"
    machine, *_ = run.data.tags[OWNER].rsplit(" ", 2)
    client.set_tag(run.info.run_id, OWNER, f"{machine} 999999999 5.0")
    assert settle_cut_off(archive, "mine") is not None


def later_champion(archive: Archive, learning: Learning, decided: Decision) -> None:
    """Version 2 was promoted after version 1, which got the alias back by hand."""
    promoted(archive, decided, another(archive, learning, "mine"))
    make_champion(archive, learning.version)


def refused_later(archive: Archive, learning: Learning, decided: Decision) -> None:
    update = {"decision": "refused", "promoted": False, "champion": None, "reasons": ("no",)}
    record_decision(archive, learning.version, decided.model_copy(update=update))


def damaged(archive: Archive, learning: Learning, decided: Decision) -> None:
    (run,) = (run for run in archive.history.mlflow_runs() if SETTLED in run.data.tags)
    path = local_path(run.info.artifact_uri) / DECISION_FILE
    path.write_bytes(path.read_bytes().replace(b'"min_gain": 0.0', b'"min_gain": 0.5'))


def other_weights(archive: Archive, learning: Learning, decided: Decision) -> None:
    """The model was deleted, and another one has its name and number."""
    archive.tracking.client.delete_registered_model("mine")
    made = register_version(
        archive, "mine", learning.start, archive.folders.find(learning.start), "", "a card"
    )
    make_champion(archive, registered_version(archive, made.name))


@pytest.mark.parametrize("since", [later_champion, refused_later, damaged, other_weights])
def test_what_is_not_the_promotion_of_the_champion_is_not_finished(
    archive: Archive,
    learning: Learning,
    killed_with_the_alias: Decision,
    since: Callable[[Archive, Learning, Decision], None],
) -> None:
    since(archive, learning, killed_with_the_alias)
    champion = champion_of(archive, "mine")
    assert champion is not None
    assert champion.number == "1"
    assert settle_cut_off(archive, "mine") is None
    assert champion_since_ms(archive, champion) == 0


def test_another_model_of_the_champions_former_name_was_never_promoted(
    archive: Archive, learning: Learning
) -> None:
    record_decision(archive, learning.version, decide(archive, learning.version, 0.0))
    assert champion_since_ms(archive, learning.version) > 0
    other_weights(archive, learning, decide(archive, learning.version, 0.0))
    champion = champion_of(archive, "mine")
    assert champion is not None
    assert champion.name == learning.version.name
    assert champion_since_ms(archive, champion) == 0


def test_a_promotion_in_the_future_does_not_forget_what_was_measured_since(
    archive: Archive, learning: Learning
) -> None:
    decided = record_decision(archive, learning.version, decide(archive, learning.version, 0.0))
    tomorrow = time.time_ns() // 1_000_000 + 86_400_000
    archive.tracking.client.set_tag(decided.run_id, SETTLED, str(tomorrow))
    assert champion_since_ms(archive, learning.version) == 0


def test_a_decision_that_is_broken_off_says_why(archive: Archive, learning: Learning) -> None:
    decided = decide(archive, learning.version, 0.0)
    run_id = begin_decision(archive, learning.version, decided)
    with pytest.raises(ValueError, match="the reason"), broken_off(archive, run_id):
        raise ValueError("the reason")
    run = archive.tracking.client.get_run(run_id)
    assert (run.info.status, run.data.tags[ERROR]) == ("KILLED", "ValueError: the reason")
    assert all_decisions(archive.history) == []


def test_why_a_decision_is_broken_off_is_said_even_where_it_cannot_be_recorded(
    archive: Archive, learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = begin_decision(archive, learning.version, decide(archive, learning.version, 0.0))

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(archive.tracking.client, "set_tag", full)
    with pytest.raises(ValueError, match="the reason") as caught, broken_off(archive, run_id):
        raise ValueError("the reason")
    assert caught.value.__notes__ == ["the decision's run could not be ended: the disk is full"]
