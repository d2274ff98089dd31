"""Decisions of the gate in MLflow: a run of its own, tags on the model version, and the alias.

A decision is no loop, so it is not among the runs of loops. It decides nothing itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from artifacts.registry.versions import RegisteredVersion, make_champion, tag_version
from artifacts.store.data_dir import current_data_dir
from artifacts.text.numbers import points
from artifacts.tracking.connection import NOTE, TAG, client_for, experiment_id
from artifacts.tracking.history import mlflow_runs

DECISION_FILE = "decision.json"
Result = dict[str, Any]


def record_decision(version: RegisteredVersion, decided: Result) -> str:
    """Keep a decision with its evidence, tag the version, and make it champion if it says so.

    Returns the id of the decision's run. The run is finished only after the alias was given.
    """
    from mlflow.entities import Metric

    data_dir = current_data_dir()
    client = client_for(data_dir)
    evidence = decided["evidence"] or {}
    gain = evidence.get("difference")
    tags = {
        "decision": decided["decision"],
        "candidate": version.name,
        "against": decided["against"]["name"],
        "reasons": "; ".join(decided["reasons"]),
        "instrument": evidence.get("instrument", {}).get("digest", ""),
    }
    run_id = str(
        client.create_run(
            experiment_id(data_dir), tags={TAG + name: value[:5000] for name, value in tags.items()}
        ).info.run_id
    )
    client.update_run(run_id, name=f"promote-{run_id[:6]}")
    client.set_tag(run_id, NOTE, _describe(version, decided))
    client.log_dict(run_id, decided | {"run_id": run_id}, DECISION_FILE)
    numbers = {"min_gain": decided["min_gain"]}
    if gain:
        numbers |= {f"gain_{name}": gain[name] for name in ("value", "low", "high")}
        numbers["p_value"] = evidence["p_value"]
    now = time.time_ns() // 1_000_000
    client.log_batch(run_id, [Metric(name, float(v), now, 0) for name, v in numbers.items()])
    if decided["against"]["name"] != version.name:  # the champion's evidence stays as it was
        tag_version(
            version,
            decision=decided["decision"],
            decision_run=run_id,
            decided_against=decided["against"]["name"],
            gain=f"{points(gain['value'])} ({points(gain['low'])} to {points(gain['high'])}) points"
            if gain
            else "not known",
        )
    if decided["promoted"]:
        make_champion(version)
    client.set_terminated(run_id, "FINISHED")
    return run_id


@dataclass(frozen=True)
class DecisionRecord:
    """A decision of the gate as it was recorded."""

    run_id: str
    name: str
    started_ms: int
    decision: str
    candidate: str
    against: str
    metrics: Mapping[str, float]
    folder: Path

    def result(self) -> Result:
        """The whole decision with its evidence."""
        return dict(json.loads((self.folder / DECISION_FILE).read_text()))


def all_decisions() -> list[DecisionRecord]:
    """Every decision in the data folder, newest first."""
    return [
        DecisionRecord(
            run_id=run.info.run_id,
            name=run.info.run_name or "",
            started_ms=run.info.start_time,
            decision=run.data.tags[f"{TAG}decision"],
            candidate=run.data.tags[f"{TAG}candidate"],
            against=run.data.tags.get(f"{TAG}against", ""),
            metrics=run.data.metrics,
            folder=Path(unquote(urlparse(run.info.artifact_uri).path)),
        )
        for run in mlflow_runs()
        if f"{TAG}decision" in run.data.tags and run.info.status == "FINISHED"
    ]


def find_decision(name: str) -> DecisionRecord | None:
    """The decision with this id, start of an id (4 characters or more) or name, if there is one."""
    for found in all_decisions():
        if name in (found.run_id, found.name) or (len(name) >= 4 and found.run_id.startswith(name)):
            return found
    return None


def _describe(version: RegisteredVersion, decided: Result) -> str:
    lines = [f"**{version.name}: {decided['decision']}**", ""]
    against = decided["against"]
    lines.append(f"Against the {against['role']}: `{against['name'] or 'not known'}`")
    if decided["evidence"]:
        gain = decided["evidence"]["difference"]
        lines.append(
            f"Gain {points(gain['value'])} points (95 % interval {points(gain['low'])} to "
            f"{points(gain['high'])}; {gain['problems']} problems)"
        )
        lines += [f"- {run['name']}" for run in decided["evidence"]["runs"]]
    lines += ["", *(f"- {reason}" for reason in decided["reasons"])]
    return "\n".join(lines)
