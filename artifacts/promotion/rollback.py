"""The rollback: the former champion is champion again, without new evidence and with a reason.

It is for a champion that turns out to be harmful: nobody should have to measure before it is gone.
No count begins anew by it: looks and confirmations go on from when the gate made that version
champion, and the version that was taken back needs the gate like any other.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from artifacts.promotion.decisions import (
    PROMOTED,
    ROLLED_BACK,
    DecisionRecord,
    all_decisions,
)
from artifacts.promotion.words import LONGEST_REASON
from artifacts.registry.versions import (
    CHAMPION,
    REGISTRY,
    RegisteredVersion,
    champion_of,
    registered_version,
)
from artifacts.text.visible import printable
from artifacts.tracking.archive import Archive
from schemas.errors import InputError, RefusedError
from schemas.result_parts import Candidate, Opponent, Rollback
from schemas.results import Decision

LONGEST_USER = 80  # characters
Place = tuple[str, str]  # a version's name and the digest of its weights, empty where not recorded


def model_of(name: str) -> tuple[str, str]:
    """The model of `models:/NAME`, and the number of `models:/NAME/3`, else empty."""
    match = re.fullmatch(rf"{REGISTRY}([A-Za-z0-9._-]+)(?:@{CHAMPION}|/([0-9]+))?", name)
    if match is None:
        raise InputError(
            "is not a registered model",
            f"promote {name} --rollback",
            "write models:/NAME, or models:/NAME/3 for its present champion",
        )
    return match[1], match[2] or ""


def reason_of(text: str) -> str:
    """Why, as one line in which nothing is left that a terminal would obey.

    Raises InputError where it is empty or longer than `LONGEST_REASON` characters.
    """
    reason = printable(" ".join(text.split()))
    if not reason:
        raise InputError("is empty", "--reason", "say why the champion is taken back")
    if len(reason) > LONGEST_REASON:
        raise InputError(
            f"has {len(reason)} characters, more than {LONGEST_REASON}", "--reason", "shorten it"
        )
    return reason


def decide_rollback(archive: Archive, model: str, number: str, reason: str) -> Decision:
    """The decision that takes a model's champion back to the former one.

    `number` is the champion that is expected, or empty. Raises RefusedError where there is no
    former champion, where another version is champion, or where the former one is gone or changed.
    """
    champion = champion_of(archive, model)
    if champion is None:
        raise RefusedError(f"{REGISTRY}{model} has no champion that could be taken back")
    if number not in ("", champion.number):
        raise RefusedError(
            f"{REGISTRY}{model}/{number} is not the champion; that is {champion.name}"
        )
    former = _whole(
        archive, champion, former_champion(all_decisions(archive.all_history), champion)
    )
    return Decision(
        kind="rollback",
        decision=ROLLED_BACK,
        promoted=False,
        reasons=(),
        candidate=Candidate(name=former.name, digest=former.digest, run_id=former.run_id),
        against=Opponent(role="champion", name=champion.name, digest=champion.digest),
        min_gain=0.0,
        pairs_considered=0,
        evidence=None,
        champion=former.name,
        rollback=Rollback(
            from_version=champion.name,
            to_version=former.name,
            by=_user(),
            at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            reason=reason,
        ),
    )


def former_champion(decisions: Iterable[DecisionRecord], champion: RegisteredVersion) -> Place:
    """The version that was champion before the present one.

    A rollback takes back what was promoted after the version that it went to, so the next one goes
    one further back. Where the alias was given by hand, a version that had been champion has its
    former place again; before any other one comes the champion that was decided on last. Raises
    RefusedError where there is none.
    """
    places = _champions(decisions, champion.model)
    now = _last(places, (champion.name, champion.digest))
    before = places if now is None else places[:now]
    if not before:
        raise RefusedError(
            f"there was no champion before {champion.name}; its alias can be taken away on "
            "MLflow's page"
        )
    return before[-1]


def _champions(decisions: Iterable[DecisionRecord], model: str) -> list[Place]:
    """Each champion that was not taken back, the first one first."""
    places: list[Place] = []
    for made in sorted(decisions, key=lambda made: made.settled_ms):
        if made.candidate.rpartition("/")[0] != REGISTRY + model:
            continue
        place = (made.candidate, made.candidate_digest)
        if made.decision == ROLLED_BACK and (back := _last(places, place)) is not None:
            places = places[: back + 1]
        elif made.decision in (PROMOTED, ROLLED_BACK):
            places.append(place)
    return places


def _last(places: list[Place], wanted: Place) -> int | None:
    name, digest = wanted
    found = [n for n, (one, its) in enumerate(places) if one == name and its in ("", digest)]
    return found[-1] if found else None


def _whole(archive: Archive, champion: RegisteredVersion, place: Place) -> RegisteredVersion:
    """The former champion, if it is still there and still has the weights that it had then."""
    name, digest = place
    reason = ""
    try:
        former = registered_version(archive, name, "promote --rollback to")
        if digest not in ("", former.digest):
            reason = "is another model, with the same name"
        elif not former.intact():
            reason = f"has weights in {former.folder} that are not those that were registered"
    except InputError as error:
        reason = f"cannot be read: {error.what}"
    if reason:
        raise RefusedError(
            f"{champion.name} stays champion: the former one, {name}, {reason}; put it back, or "
            "give the alias to another version on MLflow's page"
        )
    return former


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user id without a name, as in some containers
        name = f"user {os.getuid()}"
    return printable(name)[:LONGEST_USER]
