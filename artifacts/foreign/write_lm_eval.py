"""A measurement as samples of lm-eval: JSON lines that its readers and the hub's viewer take.

lm-eval has no field for finish reasons and log-probabilities; they stand under `threeloops`, which
others ignore and our own reader takes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from artifacts.foreign.exported import ExportedRun, mean_reward, problems_with_answers
from artifacts.foreign.lm_eval_samples import OURS

FILTER = "none"


def lm_eval_lines(run: ExportedRun, tables: Sequence[Any]) -> bytes:
    """One line a problem; `tables` are its problems, completions and scores."""
    lines = [
        json.dumps(_row(run, place, problem, answers), ensure_ascii=False)
        for place, (problem, answers) in enumerate(problems_with_answers(*tables))
    ]
    return ("\n".join(lines) + "\n").encode()


def _row(
    run: ExportedRun, place: int, problem: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    prompt, target = problem["prompt"], problem["expected_answer"]
    doc = {"id": problem["problem_id"], "prompt": prompt, "expected_answer": target}
    texts = [one["text"] for one in answers]
    return {
        "doc_id": place,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {}}},
        "resps": [texts],
        "filtered_resps": [texts],
        "filter": FILTER,
        "metrics": [run.scorer],
        "doc_hash": _digest(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _digest(prompt),
        "target_hash": _digest(target),
        run.scorer: mean_reward(answers),
        OURS: {
            "run": run.name,
            "model": run.model,
            "finish_reasons": [one["finish_reason"] for one in answers],
            "sum_logprobs": [one["sum_logprob"] for one in answers],
            "token_counts": [one["token_count"] for one in answers],
            "rewards": [one["reward"] for one in answers],
            "codes": [one["code"] for one in answers],
        },
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
