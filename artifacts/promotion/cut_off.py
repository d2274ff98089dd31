"""A decision of the gate that was stopped: its run says why, and what it had given is finished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from artifacts.promotion.decisions import (
    CANDIDATE,
    DECISION_FILE,
    GIVES_ALIAS,
    IN_REGISTRY,
    RECORD_DIGEST,
    TURN,
    all_decisions,
    settle,
)
from artifacts.registry.versions import RegisteredVersion, champion_of
from artifacts.store.process import is_gone
from artifacts.store.shared.owners import Owners
from artifacts.text.secrets import without_secrets
from artifacts.text.visible import printable
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import TAG
from artifacts.tracking.files import files_of
from artifacts.tracking.history import History
from artifacts.tracking.owner import LEASE
from artifacts.tracking.sqlite_runs import FoundRun
from artifacts.unsent.owned import OWNER
from schemas.identity import bytes_digest
from schemas.results import Decision

ERROR = f"{TAG}error"


@contextmanager
def broken_off(archive: Archive, run_id: str) -> Iterator[None]:
    """End the run of a decision with the reason, where the block raises before it is decided."""
    try:
        yield
    except BaseException as error:
        reason = printable(without_secrets(f"{type(error).__name__}: {error}"), keep="\n")
        try:
            archive.tracking.client.set_tag(run_id, ERROR, reason[:5000])
            archive.tracking.client.set_terminated(run_id, "KILLED")
        except Exception as failed:  # the record must not hide why it was broken off
            error.add_note(f"the decision's run could not be ended: {failed}")
        raise


def settle_cut_off(archive: Archive, model: str) -> Decision | None:
    """Finish the record of a decision that was killed after it had given the alias, if any was.

    It is the promotion of the model's present champion, or the rollback to it. The alias says that
    it was decided, and the decision with its evidence had been kept before. What was decided since
    then, of this version or with another one as champion, leaves nothing to finish.
    """
    champion = champion_of(archive, model)
    if champion is None:
        return None
    since = _decided_since_ms(archive.all_history, champion)
    for run in archive.all_history.mlflow_runs():
        if run.info.start_time >= since and _is_cut_off(run, archive.owners):
            decided = _made_champion(archive, run, champion)
            if decided is not None:
                settle(archive, champion, decided, run.info.run_id)
                if ERROR in run.data.tags:
                    archive.tracking.client.delete_tag(run.info.run_id, ERROR)
                return decided
    return None


def _decided_since_ms(history: History, champion: RegisteredVersion) -> int:
    """When the alias was given last by a decision, or this version decided on; 0 if never."""
    of_model = champion.name.rpartition("/")[0]
    return max(
        (
            made.settled_ms
            for made in all_decisions(history)
            if (made.candidate == champion.name and made.against != champion.name)
            or (made.decision in GIVES_ALIAS and made.candidate.rpartition("/")[0] == of_model)
        ),
        default=0,
    )


def _is_cut_off(run: FoundRun, owners: Owners | None) -> bool:
    """Whether a run was ended from outside; in a process that goes on, it may not be closed yet.

    Whoever asks has the gate's turn: no process of another machine that had it in the registry too,
    or that has a lease in a store that is shared, decides any more. Of any other nothing is known.
    """
    if run.info.status != "RUNNING":
        return bool(run.info.status == "KILLED")
    if run.data.tags.get(TURN) == IN_REGISTRY:
        return True
    owner, lease = (run.data.tags.get(tag, "") for tag in (OWNER, LEASE))
    return is_gone(owner) or (owners is not None and owners.knows(owner, lease))


def _made_champion(archive: Archive, run: FoundRun, champion: RegisteredVersion) -> Decision | None:
    """The decision that a run had kept, if it is whole and made this version the champion."""
    if run.data.tags.get(CANDIDATE) != champion.name:
        return None
    try:
        kept = files_of(archive.tracking, run).read(DECISION_FILE)
        decided = Decision.model_validate_json(kept)
        whole = run.data.tags.get(RECORD_DIGEST) in (None, bytes_digest(kept))
    except (OSError, ValidationError):
        return None
    made = (decided.champion, decided.candidate.digest)
    ours = made == (champion.name, champion.digest)
    return decided if whole and ours else None
