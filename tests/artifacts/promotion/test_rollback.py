"""The former champion is champion again: whole or not at all, with its reason, counting on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from artifacts.doctor.databases import recorded_in
from artifacts.doctor.examination import Examination
from artifacts.doctor.runs import check_aliases, check_runs
from artifacts.lineage.chain import lineage_of
from artifacts.promotion.cut_off import settle_cut_off
from artifacts.promotion.decisions import all_decisions, champion_since_ms
from artifacts.promotion.gate import confirmation_number, decide
from artifacts.promotion.rollback import decide_rollback, model_of, reason_of
from artifacts.promotion.words import LONGEST_REASON
from artifacts.registry.versions import (
    RegisteredVersion,
    champion_of,
    make_champion,
    register_version,
    registered_version,
)
from artifacts.store.stored_bytes import StoredBytes
from artifacts.tracking.archive import Archive
from schemas.errors import InputError, RefusedError
from schemas.result_parts import Opponent
from schemas.results import Decision
from tests.artifacts.measuring import policy_in
from tests.artifacts.promotion.conftest import Learning, record_decision
from tests.artifacts.promotion.test_cut_off import close_running

pytestmark = pytest.mark.slow
WRITES = (
    "create_run", "update_run", "log_dict", "log_batch", "set_tag", "set_registered_model_alias",
    "set_model_version_tag", "set_terminated",
)  # fmt: skip
LAST_WRITE = 15  # more than a rollback makes


@pytest.fixture
def champions(archive: Archive, learning: Learning, tmp_path: Path) -> list[RegisteredVersion]:
    """Three versions of `mine`, each of which the gate made champion, one after the other."""
    decided = decide(archive, learning.version, 0.0)
    assert decided.promoted
    versions = [learning.version]
    for weights in ("second", "third"):
        policy = policy_in(archive, tmp_path / weights, weights=weights)
        folder = archive.folders.find(policy)
        made = register_version(archive, "mine", policy, folder, learning.run.run_id, "a card")
        versions.append(registered_version(archive, made.name))
    for version in versions:
        promote(archive, decided, version)
    return versions


def promote(archive: Archive, decided: Decision, version: RegisteredVersion) -> None:
    candidate = {"name": version.name, "digest": version.digest}
    champion = champion_of(archive, "mine")
    against = decided.against
    if champion is not None:
        against = Opponent(role="champion", name=champion.name, digest=champion.digest)
    update: dict[str, object] = {
        "against": against,
        "candidate": decided.candidate.model_copy(update=candidate),
        "champion": version.name,
    }
    record_decision(archive, version, decided.model_copy(update=update))


def roll_back(archive: Archive, number: str = "", reason: str = "it is worse") -> Decision:
    decided = decide_rollback(archive, "mine", number, reason)
    return record_decision(archive, registered_version(archive, decided.candidate.name), decided)


def tags_of(archive: Archive, number: str) -> dict[str, str]:
    tags = archive.tracking.client.get_model_version("mine", number).tags
    return {name.removeprefix("threeloops."): value for name, value in tags.items()}


def now(archive: Archive) -> str:
    champion = champion_of(archive, "mine")
    assert champion is not None
    return champion.number


def test_each_rollback_goes_one_further_back_until_there_is_none(
    archive: Archive, champions: list[RegisteredVersion]
) -> None:
    for number in ("2", "1"):
        roll_back(archive)
        assert now(archive) == number
    with pytest.raises(RefusedError, match="no champion before models:/mine/1"):
        roll_back(archive)
    assert now(archive) == "1"


def test_what_was_promoted_after_a_rollback_goes_back_to_where_that_led(
    archive: Archive, learning: Learning, champions: list[RegisteredVersion]
) -> None:
    roll_back(archive)
    roll_back(archive)
    promote(archive, decide(archive, learning.version, 0.0), champions[2])
    roll_back(archive)
    assert now(archive) == "1", "version 2 was taken back before version 3 was promoted again"


def test_a_rollback_is_a_decision_with_who_when_from_to_and_why(
    archive: Archive, champions: list[RegisteredVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "ada\x1b[31m")
    made = roll_back(archive, reason="it says \x1b[31mred")
    newest = all_decisions(archive.history)[0]
    assert (newest.kind, newest.decision, newest.name) == (
        "rollback", "rolled back", f"rollback-{made.run_id[:6]}"
    )  # fmt: skip
    assert (newest.candidate, newest.against) == ("models:/mine/2", "models:/mine/3")
    kept = newest.result()
    assert kept == made
    assert kept.rollback is not None
    assert kept.rollback.by == "ada\\u001b[31m"
    assert kept.rollback.at.endswith("Z")
    for number, tag in (("3", "rolled_back"), ("2", "champion_again")):
        tags = tags_of(archive, number)
        assert "from models:/mine/3 to models:/mine/2: it says" in tags[tag]
        assert tags["rollback_run"] == made.run_id
    assert "decision_run" in tags_of(archive, "2"), "the evidence of its promotion stays"
    lines = [link.note for link in lineage_of(archive, "models:/mine/3").links]
    assert any("from models:/mine/3 to models:/mine/2: it says" in line for line in lines)
    assert lineage_of(archive, made.run_id).intact
    recorded = recorded_in(archive.data_dir)
    look = Examination(archive.data_dir, StoredBytes(), recorded, lambda: recorded)
    found = [one.finding.name for check in (check_runs, check_aliases) for one in check(look)]
    assert not [name for name in found if "decision" in name], found


def test_looks_and_confirmations_go_on_counting_from_when_the_gate_made_it_champion(
    archive: Archive, champions: list[RegisteredVersion]
) -> None:
    before = champion_since_ms(archive, champions[1])
    made = roll_back(archive)
    assert champion_since_ms(archive, champions[1]) == before > 0
    opponent = made.against.model_copy(update={"digest": champions[1].digest})
    again = made.model_copy(update={"against": opponent})
    assert confirmation_number(archive, champions[2], again) == 2, "its promotion was the first"


def test_a_version_that_was_taken_back_is_asked_about_like_any_other(
    archive: Archive, learning: Learning, champions: list[RegisteredVersion]
) -> None:
    roll_back(archive)
    decided = decide(archive, champions[2], 0.0)
    assert not decided.promoted
    assert decided.against.name == "models:/mine/2"
    assert any("no evaluation on the holdout" in reason for reason in decided.reasons)


def gone(archive: Archive, former: RegisteredVersion) -> None:
    archive.tracking.client.delete_model_version("mine", former.number)


def without_weights(_: Archive, former: RegisteredVersion) -> None:
    shutil.rmtree(former.folder)


def with_other_weights(_: Archive, former: RegisteredVersion) -> None:
    weights = former.folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (gone, "cannot be read: no such version in the registry"),
        (without_weights, "has weights in"),
        (with_other_weights, "has weights in"),
    ],
)
def test_a_former_champion_that_is_not_whole_does_not_become_champion(
    archive: Archive,
    champions: list[RegisteredVersion],
    harm: Callable[[Archive, RegisteredVersion], None],
    why: str,
) -> None:
    harm(archive, champions[1])
    before = len(all_decisions(archive.history))
    with pytest.raises(RefusedError, match=f"models:/mine/3 stays champion.*{why}"):
        roll_back(archive)
    assert now(archive) == "3"
    assert len(all_decisions(archive.history)) == before


def test_another_model_of_the_former_champions_name_does_not_become_champion(
    archive: Archive, learning: Learning, champions: list[RegisteredVersion]
) -> None:
    archive.tracking.client.set_model_version_tag("mine", "2", "threeloops.digest", "0" * 64)
    with pytest.raises(RefusedError, match="another model, with the same name"):
        roll_back(archive)


def test_only_the_champion_that_is_named_is_taken_back(
    archive: Archive, champions: list[RegisteredVersion]
) -> None:
    with pytest.raises(RefusedError, match="2 is not the champion; that is models:/mine/3"):
        roll_back(archive, "2")
    roll_back(archive, "3")
    with pytest.raises(RefusedError, match="3 is not the champion; that is models:/mine/2"):
        roll_back(archive, "3")
    with pytest.raises(RefusedError, match="has no champion"):
        decide_rollback(archive, "other", "", "why")


def test_an_alias_given_by_hand_counts_as_a_rollback_where_the_version_was_champion(
    archive: Archive, learning: Learning, champions: list[RegisteredVersion]
) -> None:
    make_champion(archive, champions[1])
    roll_back(archive)
    assert now(archive) == "1"
    folder = archive.folders.find(learning.start)
    by_hand = register_version(archive, "mine", learning.start, folder, "", "a card")
    make_champion(archive, registered_version(archive, by_hand.name))
    roll_back(archive)
    assert now(archive) == "1", "the champion that was decided on last"


@pytest.mark.parametrize("number", range(LAST_WRITE + 1))
def test_a_rollback_that_is_killed_at_any_write_is_whole_after_the_next_command_or_never_was(
    archive: Archive,
    champions: list[RegisteredVersion],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    client, writes = archive.tracking.client, 0
    known = {run.info.run_id for run in archive.history.mlflow_runs()}

    def counted(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes > number:
                raise KeyboardInterrupt
            return write(*given, **more)

        return call

    with monkeypatch.context() as patched:
        for name in WRITES:
            patched.setattr(client, name, counted(getattr(client, name)))
        with suppress(KeyboardInterrupt):
            roll_back(archive)
    assert number < LAST_WRITE or writes <= number, "every write is tried"
    if any(run.info.status == "RUNNING" for run in archive.history.mlflow_runs()):
        close_running(archive)
    settled = settle_cut_off(archive, "mine")
    (*_, finished) = [None, *(d for d in all_decisions(archive.history) if d.kind == "rollback")]
    if now(archive) == "3":
        assert finished is None
        assert settled is None
    else:
        assert finished is not None
        assert finished.result().rollback is not None
        assert "rolled_back" in tags_of(archive, "3")
        assert "champion_again" in tags_of(archive, "2")
        assert settle_cut_off(archive, "mine") is None
    assert {run.info.status for run in archive.history.mlflow_runs()} <= {"FINISHED", "KILLED"}
    assert len(known) == 4


def test_the_tags_of_a_version_that_was_deleted_meanwhile_do_not_stop_a_record(
    archive: Archive, champions: list[RegisteredVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("artifacts.promotion.decisions.settle", killed)
        with pytest.raises(KeyboardInterrupt):
            roll_back(archive)
    close_running(archive)
    gone(archive, champions[2])
    settled = settle_cut_off(archive, "mine")
    assert settled is not None
    assert settled.kind == "rollback"
    assert "champion_again" in tags_of(archive, "2")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (" two\n lines\t", "two lines"),
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("right \u202eto left", "right \\u202eto left"),
        ("bytes \udcff", "bytes \\udcff"),
        ("größer als ¼", "größer als ¼"),
    ],
)
def test_a_reason_is_one_line_that_no_terminal_obeys(given: str, kept: str) -> None:
    assert reason_of(given) == kept


@pytest.mark.parametrize("given", ["", " \n", "x" * (LONGEST_REASON + 1)])
def test_a_reason_says_something_and_is_short(given: str) -> None:
    with pytest.raises(InputError, match="--reason"):
        reason_of(given)


@pytest.mark.parametrize("name", ["mine", "models:/mine@candidate", "models:/a/b/c", "models:/"])
def test_only_a_registered_model_has_a_champion_to_take_back(name: str) -> None:
    with pytest.raises(InputError, match="is not a registered model"):
        model_of(name)


def test_a_model_is_named_with_or_without_its_champion() -> None:
    names = ("models:/mine", "models:/mine@champion", "models:/mine/3")
    assert [model_of(name) for name in names] == [("mine", ""), ("mine", ""), ("mine", "3")]
