"""Decisions of the gate in MLflow: a run of its own, tags on the model version, and the alias."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from artifacts.promotion.words import describe, gain_in_words, rollback_in_words, shown
from artifacts.registry.versions import (
    RegisteredVersion,
    make_champion,
    registered_version,
    tag_version,
)
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import TAG
from artifacts.tracking.experiment import NOTE
from artifacts.tracking.files import RunFiles, files_of
from artifacts.tracking.history import History
from artifacts.tracking.owner import owner_tags
from schemas.errors import InputError
from schemas.identity import bytes_digest
from schemas.result_parts import DecisionKind, Rollback
from schemas.results import Decision, RatedComparison

DECISION_FILE = "decision.json"
KIND = f"{TAG}kind"  # decisions of earlier versions have none: they are the gate's
PROMOTED, ROLLED_BACK = "promoted", "rolled back"
GIVES_ALIAS = (PROMOTED, ROLLED_BACK)  # decisions that make a version champion
CANDIDATE = f"{TAG}candidate"
CANDIDATE_DIGEST = f"{TAG}candidate_digest"
SETTLED = f"{TAG}settled_ms"  # when it was decided
RECORD_DIGEST = f"{TAG}record_digest"  # of the file with the decision and its evidence
TURN, IN_REGISTRY = f"{TAG}turn", "registry"  # where whoever decides took the gate's turn
RUN_NAMES: Mapping[DecisionKind, str] = {"gate": "promote", "rollback": "rollback"}
CONFIRMS = f"{TAG}confirms"  # the digest of the opponent that the candidate was measured against


def begin_decision(archive: Archive, version: RegisteredVersion, decided: Decision) -> str:
    """Begin the run of a decision; returns its id.

    Where it is to be confirmed, the run is there before anything is measured: a confirmation that
    was broken off, and whose rates were seen, counts as one.
    """
    evidence = decided.evidence
    tags = {
        KIND: decided.kind,
        CANDIDATE: version.name,
        CANDIDATE_DIGEST: version.digest,
        f"{TAG}against": decided.against.name[:5000],
        f"{TAG}instrument": evidence.instrument.digest if evidence else "",
    }
    confirms = {CONFIRMS: decided.against.digest} if decided.promoted else {}
    turn = {TURN: IN_REGISTRY} if archive.tracking.shares_registry else {}
    client, name = archive.tracking.client, RUN_NAMES[decided.kind]
    made = client.create_run(
        archive.tracking.experiment_id,
        tags=tags | confirms | turn | owner_tags(archive.owners),
        run_name=name,
    )
    run_id = str(made.info.run_id)
    client.update_run(run_id, name=f"{name}-{run_id[:6]}")
    return run_id


def record_decision(
    archive: Archive, version: RegisteredVersion, decided: Decision, run_id: str
) -> Decision:
    """Keep a decision with its evidence, make the version champion if it says so, and tag it.

    `run_id` is the run that `begin_decision` made. Returns the decision with the id of its run.
    The alias is given before anything says so, and the run is finished last.
    """
    client = archive.tracking.client
    decided = decided.model_copy(update={"run_id": run_id})
    gain = shown(decided)
    numbers = {"min_gain": decided.min_gain} if decided.kind == "gate" else {}
    if decided.held:
        numbers |= {"look": decided.held.look, "level": decided.held.level}
    if decided.fresh_held:
        numbers |= {"confirmation": decided.fresh_held.look}
    kept = json.dumps(decided.as_json(), indent=2).encode()
    files_of(archive.tracking, client.get_run(run_id)).write(DECISION_FILE, kept)
    client.set_tag(run_id, RECORD_DIGEST, bytes_digest(kept))
    _log(archive, run_id, numbers | (_gain_in_numbers(gain) if gain else {}))
    client.set_tag(run_id, SETTLED, str(_now_ms()))  # not later, also if the rest is done later
    if decided.champion is not None:
        make_champion(archive, version)
    settle(archive, version, decided, run_id)
    return decided


def settle(archive: Archive, version: RegisteredVersion, decided: Decision, run_id: str) -> None:
    """Say everywhere what was decided and kept, and finish the decision's run."""
    client, gain = archive.tracking.client, shown(decided)
    client.set_tag(run_id, NOTE, describe(version, decided))
    tags = {
        "decision": decided.decision,
        "reasons": decided.rollback.reason if decided.rollback else "; ".join(decided.reasons),
    }
    for name, value in tags.items():
        client.set_tag(run_id, TAG + name, value[:5000])
    if decided.rollback:
        _tag_both(archive, decided.rollback, run_id)
    elif decided.against.name != version.name:  # the champion's evidence stays as it was
        fresh = ", measured again on fresh samples" if decided.fresh else ""
        fresh = ", measured after it had passed" if decided.gain else fresh
        tag_version(
            archive,
            version,
            look=str(decided.held.look) if decided.held else "",
            decision=decided.decision,
            decision_run=run_id,
            decided_against=decided.against.name,
            gain=gain_in_words(gain) + fresh,
        )
    client.set_terminated(run_id, "FINISHED")


def _tag_both(archive: Archive, back: Rollback, run_id: str) -> None:
    """Say of both versions that the champion was taken back; one may have been deleted since."""
    words = rollback_in_words(back)
    for name, tag in ((back.from_version, "rolled_back"), (back.to_version, "champion_again")):
        with suppress(InputError):
            version = registered_version(archive, name)
            tag_version(archive, version, **{tag: words, "rollback_run": run_id})


def _log(archive: Archive, run_id: str, numbers: Mapping[str, float]) -> None:
    if not numbers:
        return
    from mlflow.entities import Metric

    now = _now_ms()
    metrics = [Metric(name, float(value), now, 0) for name, value in numbers.items()]
    archive.tracking.client.log_batch(run_id, metrics)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _gain_in_numbers(compared: RatedComparison) -> dict[str, float]:
    gain = compared.difference
    return {
        "gain_value": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "p_value": compared.p_value,
    }


@dataclass(frozen=True)
class DecisionRecord:
    """A decision of the gate as it was recorded."""

    run_id: str
    name: str
    started_ms: int
    settled_ms: int
    decision: str
    candidate: str
    against: str
    metrics: Mapping[str, float]
    find_files: Callable[[], RunFiles] = field(compare=False)
    kind: DecisionKind = "gate"
    reasons: str = ""  # against it, or why the champion was taken back
    # decisions of earlier versions have neither
    digest: str = ""  # of its record
    candidate_digest: str = ""

    @cached_property
    def files(self) -> RunFiles:
        """Its files."""
        return self.find_files()

    @property
    def folder(self) -> Path:
        """Where its files are on this machine, or copies of those that were written or read."""
        return self.files.path()

    def result(self) -> Decision:
        """The whole decision with its evidence; InputError where it cannot be read any more."""
        try:
            return Decision.model_validate_json(self.files.read(DECISION_FILE))
        except (OSError, ValidationError):
            raise InputError(
                f"its record, {self.files.path(DECISION_FILE)}, is damaged or was written by "
                "another version of threeloops",
                f"decision {self.name}",
                "ask the gate again with threeloops promote",
            ) from None


def all_decisions(history: History, newest: int | None = None) -> list[DecisionRecord]:
    """Every decision in the data folder, or the `newest` so many; newest first."""
    return list(islice(_decisions(history), newest))


def _decisions(history: History, name: str = "") -> Iterator[DecisionRecord]:
    """The decisions, newest first; with `name`, those that it may mean."""
    for run in history.mlflow_runs(tag=f"{TAG}decision", name=name):
        if f"{TAG}decision" not in run.data.tags or run.info.status != "FINISHED":
            continue
        yield DecisionRecord(
            run_id=run.info.run_id,
            name=run.info.run_name or "",
            started_ms=run.info.start_time,
            settled_ms=int(run.data.tags.get(SETTLED, run.info.start_time)),
            decision=run.data.tags[f"{TAG}decision"],
            candidate=run.data.tags[CANDIDATE],
            candidate_digest=run.data.tags.get(CANDIDATE_DIGEST, ""),
            against=run.data.tags.get(f"{TAG}against", ""),
            kind="rollback" if run.data.tags.get(KIND) == "rollback" else "gate",
            reasons=run.data.tags.get(f"{TAG}reasons", ""),
            metrics=run.data.metrics,
            find_files=partial(files_of, history.tracking, run),
            digest=run.data.tags.get(RECORD_DIGEST, ""),
        )


def confirmed_against(history: History, since_ms: int) -> list[str]:
    """The opponent's digest of every confirmation since then.

    Confirmations that were broken off are among them, and so are those whose run was deleted.
    """
    return [
        run.data.tags[CONFIRMS]
        for run in history.mlflow_runs(deleted=True, tag=CONFIRMS)
        if CONFIRMS in run.data.tags and run.info.start_time >= since_ms
    ]


def champion_since_ms(archive: Archive, champion: RegisteredVersion) -> int:
    """When the gate made this version champion; 0 if it never did, or if that is not known.

    In milliseconds since 1970. A time that is yet to come was read off a wrong clock: what was
    measured since then is not known, and would not count.
    """
    since = max(
        (
            made.settled_ms
            for made in all_decisions(archive.all_history)
            if made.decision == PROMOTED
            and made.candidate == champion.name
            and made.candidate_digest in ("", champion.digest)
        ),
        default=0,
    )
    return since if since <= _now_ms() else 0


def find_decision(history: History, name: str) -> DecisionRecord | None:
    """The decision with this id, start of an id (4 characters or more) or name, if there is one."""
    for found in _decisions(history, name):
        if name in (found.run_id, found.name) or (len(name) >= 4 and found.run_id.startswith(name)):
            return found
    return None
