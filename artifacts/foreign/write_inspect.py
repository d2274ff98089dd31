"""A measurement as a log of inspect_ai (format 2), which its viewer and `read_eval_log` take."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from artifacts.foreign.exported import ExportedRun, mean_reward, problems_with_answers

VERSION = 2
STOP = {"stop": "stop", "length": "max_tokens"}
EARLIEST = (1980, 1, 1, 0, 0, 0)  # so that the same run is always the same bytes


def inspect_archive(run: ExportedRun, tables: Sequence[Any]) -> bytes:
    """The bytes of an `.eval` file; `tables` are the run's problems, completions and scores.

    The prompt of a sample is the problem's own, without the template, whose digest is among the
    metadata. A token is named by its id, because its text is not stored.
    """
    rows = problems_with_answers(*tables)
    samples = [
        _sample(run, problem, answer, place)
        for problem, answers in rows
        for place, answer in enumerate(answers, start=1)
    ]
    header = _header(run, rows)
    start = {name: header[name] for name in ("version", "eval", "plan")}
    members: dict[str, Any] = {"_journal/start.json": start}
    members |= {f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in samples}
    members |= {"summaries.json": [_summary(sample) for sample in samples], "header.json": header}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, value in members.items():
            info = zipfile.ZipInfo(name, EARLIEST)
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, json.dumps(value, ensure_ascii=False))
    return buffer.getvalue()


def _header(
    run: ExportedRun, rows: Sequence[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]]
) -> dict[str, Any]:
    when = datetime.fromtimestamp(run.started_ms / 1000, UTC).isoformat(timespec="seconds")
    total = sum(len(answers) for _, answers in rows)
    epochs = max(len(answers) for _, answers in rows)
    rate = sum(mean_reward(answers) for _, answers in rows) / len(rows)
    score = {
        "name": run.scorer,
        "scorer": run.scorer,
        "scored_samples": total,
        "unscored_samples": 0,
        "params": {},
        "metrics": {"mean": {"name": "mean", "value": rate, "params": {}}},
    }
    made = {
        "eval_id": run.run_id,
        "run_id": run.run_id,
        "created": when,
        "task": run.name,
        "task_id": run.run_id,
        "task_version": 0,
        "dataset": {
            "name": run.dataset,
            "samples": len(rows),
            "sample_ids": [problem["problem_id"] for problem, _ in rows],
            "shuffled": False,
        },
        "model": run.model,
        "config": {"epochs": epochs},
        "packages": {"threeloops": run.version},
        "metadata": {"threeloops": {"run": run.name, "instrument": dict(run.instrument)}},
    }
    return {
        "version": VERSION,
        "status": "success",
        "eval": made,
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {"total_samples": total, "completed_samples": total, "scores": [score]},
        "stats": {"started_at": when, "completed_at": when, "model_usage": {}},
    }


def _sample(
    run: ExportedRun, problem: Mapping[str, Any], answer: Mapping[str, Any], epoch: int
) -> dict[str, Any]:
    asked = {"role": "user", "content": problem["prompt"], "source": "input"}
    said = {"role": "assistant", "content": answer["text"], "source": "generate"}
    choice: dict[str, Any] = {"message": said, "stop_reason": STOP[answer["finish_reason"]]}
    if answer["logprobs"] is not None:
        choice["logprobs"] = {"content": list(_logprobs(answer))}
    return {
        "id": problem["problem_id"],
        "epoch": epoch,
        "input": problem["prompt"],
        "target": problem["expected_answer"],
        "messages": [asked, said],
        "output": {"model": run.model, "choices": [choice], "completion": answer["text"]},
        "scores": {
            run.scorer: {
                "value": answer["reward"],
                "answer": answer["parsed_answer"],
                "explanation": f"{answer['outcome']}: {answer['code']}",
            }
        },
        "metadata": {"family": problem["family"]} if problem.get("family") else {},
        "store": {},
        "events": [],
        "model_usage": {},
        "attachments": {},
    }


def _logprobs(answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    ids = answer["token_ids"] or [None] * len(answer["logprobs"])
    for identity, nats in zip(ids, answer["logprobs"], strict=True):
        yield {"token": "" if identity is None else f"<{identity}>", "logprob": nats}


def _summary(sample: Mapping[str, Any]) -> dict[str, Any]:
    told = ("id", "epoch", "input", "target", "scores", "model_usage")
    return {**{name: sample[name] for name in told}, "completed": True, "message_count": 2}
