"""A decision is a run of its own; the alias is given before the run is finished."""

from __future__ import annotations

import pytest

from artifacts.promotion.decisions import (
    DECISION_FILE,
    all_decisions,
    find_decision,
)
from artifacts.promotion.gate import decide
from artifacts.registry.versions import champion_of
from artifacts.tracking.archive import Archive
from artifacts.tracking.experiment import NOTE
from schemas.errors import InputError
from schemas.results import Decision
from tests.artifacts.promotion.conftest import Learning, record_decision, tags_of

pytestmark = pytest.mark.slow


@pytest.fixture
def promoted(archive: Archive, learning: Learning) -> Decision:
    return record_decision(archive, learning.version, decide(archive, learning.version, 0.0))


def test_a_promotion_makes_the_champion_and_keeps_its_evidence(
    archive: Archive, learning: Learning, promoted: Decision
) -> None:
    assert champion_of(archive, "mine") == learning.version
    (found,) = all_decisions(archive.history)
    assert found.result() == promoted
    assert (found.decision, found.candidate) == ("promoted", "models:/mine/1")
    assert found.metrics["gain_value"] == 1.0
    assert found.metrics["min_gain"] == 0.0
    assert (found.run_id, found.name) == (promoted.run_id, f"promote-{promoted.run_id[:6]}")
    tags = tags_of(archive)
    assert (tags["decision"], tags["decision_run"]) == ("promoted", promoted.run_id)
    assert tags["gain"].startswith("+100")
    note = archive.tracking.client.get_run(promoted.run_id).data.tags[NOTE]
    assert note.startswith("**models:/mine/1: promoted**")
    assert "12 problems)" in note


def test_a_refusal_gives_no_alias_and_names_its_reasons(
    archive: Archive, learning: Learning
) -> None:
    refused = record_decision(archive, learning.version, decide(archive, learning.version, 1.0))
    assert champion_of(archive, "mine") is None
    assert tags_of(archive)["decision"] == "refused"
    run = archive.tracking.client.get_run(refused.run_id)
    assert run.data.tags["threeloops.reasons"] == "; ".join(refused.reasons)
    assert f"- {refused.reasons[0]}" in run.data.tags[NOTE]


def test_a_decision_without_evidence_says_that_the_gain_is_not_known(
    archive: Archive, learning: Learning
) -> None:
    decided = decide(archive, learning.version, 0.0)
    unknown = decided.model_copy(
        update={"evidence": None, "held": None, "promoted": False, "reasons": ("none",)}
    )
    kept = record_decision(archive, learning.version, unknown)
    assert tags_of(archive)["gain"] == "not known"
    (found,) = all_decisions(archive.history)
    assert found.metrics == {"min_gain": 0.0}
    assert found.result() == kept


def test_the_champions_own_evidence_stays_when_it_asks_again(
    archive: Archive, learning: Learning, promoted: Decision
) -> None:
    record_decision(archive, learning.version, decide(archive, learning.version, 0.0))
    assert len(all_decisions(archive.history)) == 2
    assert tags_of(archive)["decision_run"] == promoted.run_id


def test_a_decision_that_was_cut_off_is_none(
    archive: Archive, learning: Learning, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("artifacts.promotion.decisions.make_champion", cut)
    with pytest.raises(KeyboardInterrupt):
        record_decision(archive, learning.version, decide(archive, learning.version, 0.0))
    assert champion_of(archive, "mine") is None
    assert all_decisions(archive.history) == []


@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff"])
def test_a_damaged_decision_is_refused_in_one_line(
    archive: Archive, promoted: Decision, content: bytes | None
) -> None:
    (found,) = all_decisions(archive.history)
    path = found.folder / DECISION_FILE
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="is damaged") as caught:
        found.result()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_decision_is_found_by_its_id_its_start_or_its_name(
    archive: Archive, promoted: Decision
) -> None:
    for name in (promoted.run_id, promoted.run_id[:4], f"promote-{promoted.run_id[:6]}"):
        found = find_decision(archive.history, name)
        assert found is not None
        assert found.run_id == promoted.run_id
    for name in (promoted.run_id[:3], "promote", ""):
        assert find_decision(archive.history, name) is None
