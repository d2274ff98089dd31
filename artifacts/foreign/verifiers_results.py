"""Results of verifiers' evaluations (to 0.1 and `legacy` after it): JSON lines, one a rollout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artifacts.datasets.rows import jsonl_objects
from artifacts.foreign.answers import (
    Answer,
    ForeignLog,
    completion_text,
    last_question,
    own_score,
)
from schemas.errors import InputError
from schemas.files import read_json_object

FORMAT, TOOL = "verifiers", "verifiers"
NEEDED = ("example_id", "prompt", "completion", "reward")
TRACES = ("verifiers", "task", "nodes")  # keys of what verifiers writes from 0.2 on


def recognise(row: Mapping[str, Any]) -> bool:
    """Whether the first row of a file is one of verifiers'."""
    return all(name in row for name in NEEDED) or all(name in row for name in TRACES)


def read(path: Path) -> ForeignLog:
    """Every rollout of a file; `metadata.json` beside it names the model.

    InputError names the row that cannot be used: a single turn is read.
    """
    beside = _metadata(path)
    model = str(beside.get("model") or "")
    times: Counter[str] = Counter()
    answers = []
    for number, row in jsonl_objects(path):
        where = f"{path}, row {number}"
        if all(name in row for name in TRACES):
            raise InputError(
                "is a trace of verifiers' newer format, which is not read",
                where,
                "give results.jsonl of `vf-eval`, or write id and completion as JSON lines",
            )
        if not all(name in row for name in NEEDED):
            missing = next(name for name in NEEDED if name not in row)
            raise InputError(f"{missing} is missing, which rows before it have", where)
        example = str(row["example_id"])
        answers.append(_answer(row, where, model, times[example]))
        times[example] += 1
    return ForeignLog(FORMAT, tuple(answers), TOOL, _version(beside))


def _answer(row: Mapping[str, Any], where: str, model: str, place: int) -> Answer:
    failed = row.get("error") is not None
    reward, info, cut_off = own_score(row["reward"]), row.get("info"), row.get("is_truncated")
    identity = info.get("id") if isinstance(info, dict) else None
    return Answer(
        where=where,
        text=None if failed else completion_text(row["completion"], where),
        finish_reason=None if not isinstance(cut_off, bool) else "length" if cut_off else "stop",
        ids=(str(identity),) if isinstance(identity, str) else (),
        prompts=last_question(row["prompt"]),
        place=place,
        target=row["answer"] if isinstance(row.get("answer"), str) else None,
        own_scores={} if reward is None else {"reward": reward},
        model=model,
    )


def _metadata(path: Path) -> Mapping[str, Any]:
    try:
        return read_json_object(path.with_name("metadata.json"))
    except FileNotFoundError:
        return {}


def _version(metadata: Mapping[str, Any]) -> str:
    info = metadata.get("version_info")
    return str(info.get("vf_version") or "") if isinstance(info, dict) else ""
