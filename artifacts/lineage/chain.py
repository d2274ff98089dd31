"""The whole way of a run, a version or a decision: from the dataset to what was decided."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from artifacts.lineage.links import links_of_run, state_of, table_path
from artifacts.promotion.decisions import (
    DECISION_FILE,
    DecisionRecord,
    all_decisions,
    find_decision,
)
from artifacts.promotion.words import rollback_in_words
from artifacts.registry.versions import (
    REGISTRY,
    RegisteredVersion,
    registered_version,
    versions_of_run,
)
from artifacts.store.stored_bytes import StoredBytes
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from policy.files.model_files import defining_files
from policy.model.load import fingerprint_of
from schemas.errors import InputError
from schemas.lineage import LineageLink, LineageOutput, LinkState
from schemas.loops import DEMO
from schemas.results import Decision


def lineage_of(archive: Archive, name: str) -> LineageOutput:
    """The way of what a name means: a run, a decision of the gate, or `models:/NAME/VERSION`.

    Raises InputError where there is no such thing, or a demo, which measured nothing itself.
    """
    stored, history = StoredBytes(), archive.history
    decisions = all_decisions(archive.all_history)
    if name.startswith(REGISTRY):
        version = registered_version(archive, name, "show")
        return _of_version(archive, stored, name, version, decisions)
    decision = find_decision(history, name)
    if decision is not None:
        version = registered_version(archive, decision.candidate, f"decision {decision.name}")
        return _of_version(archive, stored, name, version, [decision])
    run = history.find(name)
    if run.loop is DEMO:
        raise InputError(
            "a demo measured nothing itself", f"run {name}", "name one of the three runs below it"
        )
    versions = [registered_version(archive, one) for one in versions_of_run(archive, run.run_id)]
    return _output(name, run, _links(archive, stored, run, versions, decisions))


def _of_version(
    archive: Archive,
    stored: StoredBytes,
    asked: str,
    version: RegisteredVersion,
    decisions: Sequence[DecisionRecord],
) -> LineageOutput:
    """The way of a version begins with the learning run that made it."""
    made = archive.all_history.with_id(version.run_id) if version.run_id else None
    if made is None:
        raise InputError(
            "the learning run that made it is gone, so nothing says what it was made from",
            asked,
            "restore the run on MLflow's page",
        )
    return _output(asked, made, _links(archive, stored, made, [version], decisions))


def _output(asked: str, run: RunRecord, links: Iterator[LineageLink]) -> LineageOutput:
    found = tuple(links)
    if not found:
        raise InputError("it has kept no table yet", f"run {run.name}")
    intact = all(link.state in ("matches", "not known") for link in found)
    return LineageOutput(
        asked=asked,
        run_id=run.run_id,
        name=run.name,
        loop=run.loop.letter,
        links=found,
        intact=intact,
        exit_code=0 if intact else 1,
    )


def _links(
    archive: Archive,
    stored: StoredBytes,
    run: RunRecord,
    versions: Sequence[RegisteredVersion],
    decisions: Sequence[DecisionRecord],
) -> Iterator[LineageLink]:
    made = {version.digest: version.folder for version in versions}
    yield from links_of_run(archive, stored, run, made)
    for version in versions:
        yield _version_link(stored, version)
    for decision in reversed(decisions):
        link = _decision_link(archive, stored, run, [one.name for one in versions], decision)
        if link is not None:
            yield link


def _version_link(stored: StoredBytes, version: RegisteredVersion) -> LineageLink:
    """A registered version: its files against those that were registered."""
    state: LinkState = "matches"
    note = ""
    try:
        files = {file.name: file for file in defining_files(version.folder)}
        found = stored.digests(files)
    except InputError as error:
        state, note, found = "missing", error.what, {}
    if not version.digest:
        state, note = "not known", "it was registered without digests, by an earlier version"
    elif state == "matches" and fingerprint_of(found) != version.digest:
        registered = version.files
        names = [
            one
            for one in sorted(registered.keys() | found.keys())
            if registered and registered.get(one) != found.get(one)
        ]
        state, note = "differs", f"changed: {', '.join(names)}" if names else "its files changed"
    return LineageLink(
        role="version",
        stage="",
        name=version.name,
        digest=version.digest or None,
        state=state,
        where=str(version.folder),
        note=note,
    )


def _decision_link(
    archive: Archive,
    stored: StoredBytes,
    run: RunRecord,
    versions: Sequence[str],
    made: DecisionRecord,
) -> LineageLink | None:
    """A decision about one of these versions, or with this run's tables as evidence; else None."""
    path = made.files.local(DECISION_FILE)
    own = {digest for kind, digest in run.table_refs().values() if kind == "completions"}
    about = {made.candidate, made.against} if made.kind == "rollback" else {made.candidate}
    if not about & set(versions) and not _names_one(path, own):
        return None  # most are about others, and reading a record whole costs far more
    decided: Decision | None
    try:
        decided = made.result() if path else None
    except InputError:
        decided = None
    evidence = _evidence(decided)
    if not about & set(versions) and not own & set(evidence.values()):
        return None
    state: LinkState = state_of(stored, path, made.digest) if path and made.digest else "not known"
    note = f"{made.decision} {made.candidate}"
    if path is None:
        state = "missing"
    elif decided is None:
        state = "differs"
    elif decided.rollback:
        note = rollback_in_words(decided.rollback)
    else:
        note += f" on {len(evidence)} tables" if evidence else ", without evidence"
        if changed := _changed(archive, stored, evidence):
            state, note = "differs", f"{note}; of its evidence, {', '.join(changed)} changed"
    return LineageLink(
        role="decision",
        stage="",
        name=made.name,
        digest=made.digest or None,
        state=state,
        where=str(made.files.path(DECISION_FILE)),
        note=note,
    )


def _names_one(record: Path | None, digests: Collection[str]) -> bool:
    """Whether a decision's record may have one of these tables as evidence."""
    content = record.read_bytes() if record is not None else b""
    return any(digest.encode() in content for digest in digests)


def _evidence(decided: Decision | None) -> dict[str, str]:
    """The digests of the tables that a decision was made on, by what they are."""
    compared = [] if decided is None else [decided.evidence, decided.fresh]
    return {
        f"{role} of {side.name}": digest
        for one in compared
        if one is not None
        for side in one.runs
        for role, digest in side.tables.items()
    }


def _changed(archive: Archive, stored: StoredBytes, evidence: dict[str, str]) -> list[str]:
    def whole(name: str, digest: str) -> bool:
        path = table_path(archive, name.partition(" ")[0], digest)
        return state_of(stored, path, digest) == "matches"

    return [name for name, digest in evidence.items() if not whole(name, digest)]
