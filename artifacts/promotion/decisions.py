"""Decisions of the gate in MLflow: a run of its own, tags on the model version, and the alias."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from artifacts.registry.versions import RegisteredVersion, make_champion, tag_version
from artifacts.text.numbers import level_in_words, points, points_interval
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import NOTE, TAG, local_path
from artifacts.tracking.history import History
from schemas.errors import InputError
from schemas.result_parts import GateLevel
from schemas.results import Decision, RatedComparison

DECISION_FILE = "decision.json"
SETTLED = f"{TAG}settled_ms"  # when the gain had been measured again


def record_decision(archive: Archive, version: RegisteredVersion, decided: Decision) -> Decision:
    """Keep a decision with its evidence, tag the version, and make it champion if it says so.

    Returns the decision with the id of its run. The run is finished only after the alias was given.
    """
    from mlflow.entities import Metric

    client = archive.tracking.client
    evidence = decided.evidence
    tags = {
        "decision": decided.decision,
        "candidate": version.name,
        "against": decided.against.name,
        "reasons": "; ".join(decided.reasons),
        "instrument": evidence.instrument.digest if evidence else "",
    }
    tags = {TAG + name: value[:5000] for name, value in tags.items()}
    run_id = str(client.create_run(archive.tracking.experiment_id, tags=tags).info.run_id)
    decided = decided.model_copy(update={"run_id": run_id})
    client.update_run(run_id, name=f"promote-{run_id[:6]}")
    client.set_tag(run_id, NOTE, _describe(version, decided))
    client.log_dict(run_id, decided.as_json(), DECISION_FILE)
    numbers = {"min_gain": decided.min_gain}
    if decided.held:
        numbers |= {"look": decided.held.look, "level": decided.held.level}
    if evidence:
        numbers |= _gain_in_numbers(evidence)
    now = time.time_ns() // 1_000_000
    client.log_batch(run_id, [Metric(name, float(v), now, 0) for name, v in numbers.items()])
    if decided.against.name != version.name:  # the champion's evidence stays as it was
        tag_version(
            archive,
            version,
            look=str(decided.held.look) if decided.held else "",
            decision=decided.decision,
            decision_run=run_id,
            decided_against=decided.against.name,
            gain=_gain_in_words(evidence),
        )
    if decided.promoted:
        make_champion(archive, version)
    client.set_terminated(run_id, "FINISHED")
    return decided


def record_fresh_gain(archive: Archive, version: RegisteredVersion, decided: Decision) -> Decision:
    """Keep the gain that was measured again, or why it was not, with the decision it belongs to.

    The gain that MLflow and the version's tags show is then the fresh one.
    """
    from mlflow.entities import Metric

    client, run_id = archive.tracking.client, decided.run_id
    now = time.time_ns() // 1_000_000
    client.log_dict(run_id, decided.as_json(), DECISION_FILE)
    client.set_tag(run_id, NOTE, _describe(version, decided))
    client.set_tag(run_id, SETTLED, str(now))
    if decided.fresh:
        numbers = _gain_in_numbers(decided.fresh)
        client.log_batch(run_id, [Metric(name, v, now, 1) for name, v in numbers.items()])
        words = f"{_gain_in_words(decided.fresh)}, measured again on fresh samples"
        tag_version(archive, version, gain=words)
    return decided


def _gain_in_numbers(compared: RatedComparison) -> dict[str, float]:
    gain = compared.difference
    return {
        "gain_value": gain.value,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "p_value": compared.p_value,
    }


def _gain_in_words(evidence: RatedComparison | None) -> str:
    if evidence is None:
        return "not known"
    gain = evidence.difference
    return f"{points(gain.value)} ({points_interval(gain)}) points"


def _held(held: GateLevel) -> str:
    return f"the {level_in_words(held.level)} interval, {points_interval(held)} points"


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
    folder: Path

    def result(self) -> Decision:
        """The whole decision with its evidence; InputError where another version wrote it."""
        try:
            return Decision.model_validate_json((self.folder / DECISION_FILE).read_bytes())
        except ValidationError:
            raise InputError(
                "its record was written by another version of threeloops",
                f"decision {self.name}",
                "ask the gate again with threeloops promote",
            ) from None


def all_decisions(history: History) -> list[DecisionRecord]:
    """Every decision in the data folder, newest first."""
    return [
        DecisionRecord(
            run_id=run.info.run_id,
            name=run.info.run_name or "",
            started_ms=run.info.start_time,
            settled_ms=int(run.data.tags.get(SETTLED, run.info.start_time)),
            decision=run.data.tags[f"{TAG}decision"],
            candidate=run.data.tags[f"{TAG}candidate"],
            against=run.data.tags.get(f"{TAG}against", ""),
            metrics=run.data.metrics,
            folder=local_path(run.info.artifact_uri),
        )
        for run in history.mlflow_runs()
        if f"{TAG}decision" in run.data.tags and run.info.status == "FINISHED"
    ]


def champion_since_ms(archive: Archive, champion: RegisteredVersion) -> int:
    """When the gate had made this version champion and measured it again; 0 if it never did.

    In milliseconds since 1970.
    """
    return max(
        (
            made.settled_ms
            for made in all_decisions(archive.history)
            if made.decision == "promoted" and made.candidate == champion.name
        ),
        default=0,
    )


def find_decision(history: History, name: str) -> DecisionRecord | None:
    """The decision with this id, start of an id (4 characters or more) or name, if there is one."""
    for found in all_decisions(history):
        if name in (found.run_id, found.name) or (len(name) >= 4 and found.run_id.startswith(name)):
            return found
    return None


def _describe(version: RegisteredVersion, decided: Decision) -> str:
    lines = [f"**{version.name}: {decided.decision}**", ""]
    against = decided.against
    lines.append(f"Against the {against.role}: `{against.name or 'not known'}`")
    if decided.evidence:
        gain = decided.evidence.difference
        lines.append(
            f"Gain {points(gain.value)} points (95 % interval {points_interval(gain)}; "
            f"{gain.problems} problems)"
        )
        if decided.held:
            lines.append(f"Look {decided.held.look} at the evidence, held to {_held(decided.held)}")
        if decided.fresh:
            lines.append(f"Measured again on fresh samples: {_gain_in_words(decided.fresh)}")
        if decided.not_fresh:
            lines.append(f"Not measured again: {decided.not_fresh}")
        lines += decided.repeated
        lines += [f"- {run.name}" for run in decided.evidence.runs]
    lines += ["", *(f"- {reason}" for reason in decided.reasons)]
    return "\n".join(lines)
