"""Samples of lm-eval (`--log_samples`): JSON lines, one a document and filter.

A task of several filters logs the same answers once a filter, each with its own score.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from artifacts.datasets.rows import jsonl_objects
from artifacts.foreign.answers import (
    Answer,
    ForeignLog,
    finish_of,
    logprobs_of,
    own_score,
    shown,
    text_of,
)
from schemas.errors import InputError
from schemas.files import read_json_object

FORMAT, TOOL = "lm-eval", "lm-eval"
NEEDED = ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps")
OURS = "threeloops"  # what an exported file says beside lm-eval's own fields
FINISH: Mapping[str, str | None] = {"stop": "stop", "length": "length"}
NAMED = re.compile(r"samples_.+_(\d{4}-\d\d-\d\dT[\d.:-]+)\.jsonl")


def recognise(row: Mapping[str, Any]) -> bool:
    """Whether the first row of a file is one of lm-eval's."""
    return all(name in row for name in NEEDED)


def read(path: Path) -> ForeignLog:
    """Every answer of a file; the results that lm-eval writes beside it name the model.

    The score of a document goes to its first answer. InputError names the row that cannot be used.
    """
    beside = _results(path)
    model = str(beside.get("model_name") or "")
    found: dict[str, list[Answer]] = {}
    tool = TOOL
    for number, row in jsonl_objects(path):
        where = f"{path}, row {number}"
        if not recognise(row):
            missing = next(name for name in NEEDED if name not in row)
            raise InputError(f"{missing} is missing, which rows before it have", where)
        tool = OURS if OURS in row else tool
        answers, document = list(_answers(row, where, model)), str(row["doc_id"])
        known = found.setdefault(document, answers)
        if [one.text for one in known] != [one.text for one in answers]:
            raise InputError(
                f"document {document} has other answers here than in {known[0].where}",
                where,
                "give the samples of one evaluation",
            )
        known[0] = replace(known[0], own_scores={**known[0].own_scores, **_scores(row)})
    return ForeignLog(
        format=FORMAT,
        answers=tuple(one for answers in found.values() for one in answers),
        tool=tool,
        version=str(beside.get("lm_eval_version") or ""),
    )


def _answers(row: Mapping[str, Any], where: str, model: str) -> Iterator[Answer]:
    problem, texts = _problem(row), _texts(row["resps"], where)
    ours = row.get(OURS) if isinstance(row.get(OURS), dict) else None
    for place, text in enumerate(texts):
        more: dict[str, Any] = {"model": model}
        if ours is not None:
            more["model"] = str(ours.get("model") or model)
            more["finish_reason"] = finish_of(_at(ours, "finish_reasons", place), FINISH, where)
            if (nats := _at(ours, "sum_logprobs", place)) is not None:
                more["sum_logprob"] = logprobs_of([nats], where)["sum_logprob"]
        yield Answer(where=where, text=text, place=place, **problem, **more)


def _at(ours: Mapping[str, Any], name: str, place: int) -> Any:
    """What a file that was exported here says of one answer; None where it does not."""
    values = ours.get(name)
    return values[place] if isinstance(values, list) and place < len(values) else None


def _problem(row: Mapping[str, Any]) -> dict[str, Any]:
    """Its id is the document's; its prompt any text of the document, or what the model was shown.

    `doc_id` is the document's place in a split, and no id.
    """
    doc = row["doc"] if isinstance(row["doc"], dict) else {}
    identity = doc.get("id", doc.get("problem_id"))
    shown_to_model = [
        argument.get("arg_0")
        for argument in (row["arguments"].values() if isinstance(row["arguments"], dict) else ())
        if isinstance(argument, dict)
    ]
    texts = [*doc.values(), *shown_to_model]
    return {
        "ids": (str(identity),) if isinstance(identity, str) else (),  # integers are texts here
        "prompts": tuple(text for text in texts if type(text) is str),
        "target": row["target"] if isinstance(row["target"], str) else None,
    }


def _texts(responses: Any, where: str) -> list[str]:
    """The answers to one request, as often as it was repeated."""
    if not isinstance(responses, list) or len(responses) != 1 or not isinstance(responses[0], list):
        raise InputError(
            "holds no single request with answers",
            where,
            "log a task of output_type generate_until; others choose among given answers",
        )
    if any(isinstance(one, list) for one in responses[0]) or not responses[0]:
        raise InputError(
            f"holds {shown(responses[0])} where answers should be",
            where,
            "log a task of output_type generate_until; log-likelihoods are no answers",
        )
    return [text_of(one, "the answer", where) for one in responses[0]]


def _scores(row: Mapping[str, Any]) -> dict[str, float]:
    """Each metric's value, named as lm-eval does: `exact_match,strict-match`."""
    names = row.get("metrics")
    values = {
        f"{name},{row.get('filter', 'none')}": own_score(row.get(name))
        for name in (names if isinstance(names, list) else ())
        if isinstance(name, str)
    }
    return {name: value for name, value in values.items() if value is not None}


def _results(path: Path) -> Mapping[str, Any]:
    """The results file of the same evaluation, {} where there is none."""
    named = NAMED.fullmatch(path.name)
    beside = path.with_name(f"results_{named[1]}.json") if named else None
    try:
        return read_json_object(beside) if beside else {}
    except FileNotFoundError:
        return {}
