"""Answers from elsewhere, as JSON lines or another program's log, brought into the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from artifacts.datasets.files import AS_NAMED
from artifacts.datasets.problems import Datasets
from artifacts.datasets.rows import jsonl_objects
from artifacts.foreign.answers import Answer, ForeignLog, logprobs_of, number_of, shown, text_of
from artifacts.foreign.formats import read_log, reader_of
from artifacts.foreign.matching import Matcher, split_of_all
from artifacts.runs.parts import WHOLE, choose
from artifacts.store.instrument import EXTERNAL
from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import Store
from schemas.completions import COMPLETIONS
from schemas.config import Columns
from schemas.errors import InputError
from schemas.files import is_file
from schemas.finish_reasons import FINISH_REASONS, STOP
from schemas.imported import Part
from schemas.references import TableRef

Answered = Mapping[str, Sequence[Answer]]


def answered_split(
    datasets: Datasets,
    dataset: str,
    path: Path,
    columns: Columns = AS_NAMED,
    part: Part = WHOLE,
) -> str:
    """The split of a dataset that a file answers: for JSON lines of ours that of the first row.

    The file is read whole and checked, before anything starts. Raises InputError where it has no
    row, or a row answers no problem of that split.
    """
    if (read := reader_of(path)) is not None:
        log, problems = read_log(path, read), datasets.whole(dataset, columns)
        ids = _problem_ids(log, problems, dataset)
        split = split_of_all(ids, log.answers, problems)
        known = datasets.load(dataset, split, columns=columns)["problem_id"].to_pylist()
        choose(known, _in_order(log, ids, part), part, str(path))
        return split
    log, answered = _of_lines(path)
    first = next(iter(answered))
    if (found := datasets.split_of(dataset, first, columns)) is None:
        raise InputError(
            f"id {first!r} is not in the dataset {dataset}",
            log.answers[0].where,
            "give the --dataset that was answered",
        )
    problems = datasets.load(dataset, found, columns=columns)
    _check_lines(log, answered, problems, dataset)
    choose(problems["problem_id"].to_pylist(), answered, part, str(path))
    return found


def import_answers(
    path: Path, store: Store, problems: TableRef, part: Part = WHOLE
) -> tuple[TableRef, TableRef]:
    """The problems that a file answers, and its answers as a completions table.

    The file is JSON lines of ours or another program's log. Every row must belong to one of the
    problems; which are measured is `choose`'s to say.
    """
    table = store.read(problems)
    known = table["problem_id"].to_pylist()
    if (read := reader_of(path)) is None:
        log, answered = _of_lines(path)
        _check_lines(log, answered, table, str(path))
    else:
        log = read_log(path, read)
        answered = _in_order(log, _problem_ids(log, table, str(path)), part)
    chosen = choose(known, answered, part, str(path))
    if len(chosen.ids) < len(known):
        kept = table.filter(pa.compute.is_in(table["problem_id"], pa.array(chosen.ids)))
        parents = {"problems": problems.digest}
        of = provenance_of(table).config
        problems = store.write("problems", kept, producer="answered", parents=parents, config=of)
    config: dict[str, Any] = {"template": EXTERNAL, "sampling": EXTERNAL, "policy": EXTERNAL}
    if log.tool or log.format != "jsonl":
        config["imported"] = log.described().model_dump(mode="json")
    if chosen.missing:
        config["partial"] = chosen.missing.model_dump(mode="json")
    completions = store.write(
        "completions",
        _table([(i, answered[i][: chosen.samples]) for i in chosen.ids]),
        producer="import",
        parents={"problems": problems.digest},
        config=config,
    )
    return problems, completions


def _table(answered: Sequence[tuple[str, Sequence[Answer]]]) -> pa.Table:
    """A completions table; what is not known is null."""
    rows = [(name, n, one) for name, answers in answered for n, one in enumerate(answers)]
    told: dict[str, Callable[[str, int, Answer], Any]] = {
        "problem_id": lambda name, n, one: name,
        "sample_index": lambda name, n, one: n,
        "text": lambda name, n, one: one.text,
        "finish_reason": lambda name, n, one: one.finish_reason or STOP,
        "token_count": lambda name, n, one: one.tokens,
        "sum_logprob": lambda name, n, one: one.sum_logprob,
        "logprobs": lambda name, n, one: one.logprobs,
    }
    return pa.table(
        {
            name: pa.array([told[name](*row) for row in rows], column.type)
            if name in told
            else pa.nulls(len(rows), column.type)
            for name, column in COMPLETIONS.columns.items()
        }
    )


def _problem_ids(log: ForeignLog, problems: pa.Table, dataset: str) -> list[str]:
    return Matcher(problems, dataset).problems_of(log.answers)


def _in_order(log: ForeignLog, ids: Sequence[str], part: Part) -> Answered:
    """The answers of each problem in their order; InputError for one that is there twice.

    Also for a failed request, and a log that was cut off, unless missing answers are allowed.
    """
    if log.unfinished and not part.allow_missing:
        where = log.answers[0].where.split(", ")[0]
        raise InputError(
            f"the log is not whole: {log.unfinished}", where, "finish it, or add --allow-missing"
        )
    answered: dict[str, dict[int, Answer]] = {}
    for identity, answer in zip(ids, log.answers, strict=True):
        if answer.text is None:
            if not part.allow_missing:
                raise InputError(
                    "records an error in place of an answer",
                    answer.where,
                    "ask again, or leave it out with --allow-missing",
                )
            continue
        known = answered.setdefault(identity, {})
        if answer.place in known:
            raise InputError(
                f"problem {identity!r} has this answer in {known[answer.place].where} too",
                answer.where,
                "give one log of one evaluation",
            )
        known[answer.place] = answer
    return {name: [found[place] for place in sorted(found)] for name, found in answered.items()}


def _of_lines(path: Path) -> tuple[ForeignLog, Answered]:
    """The answers of a JSONL file of ours by problem.

    Lines are `{"id", "completion"}` or `{"id", "samples": [text or {"completion", …}]}`; an object
    may add `finish_reason` ("stop" when absent), `logprobs` or `sum_logprob`, and `token_count`.
    """
    if not is_file(path):
        raise InputError("no such file", f"--completions {path}")
    answers: dict[str, list[Answer]] = {}
    for number, row in jsonl_objects(path):
        where = f"{path}, row {number}"
        identity = _identity(row, where)
        if identity in answers:
            raise InputError(
                f"id {identity!r} appears twice", where, 'put its answers in one "samples" list'
            )
        answers[identity] = list(_samples(row, where))
    if not answers:
        raise InputError("has no rows", str(path), "give at least one completion")
    return ForeignLog("jsonl", tuple(one for many in answers.values() for one in many)), answers


def _identity(row: Mapping[str, Any], where: str) -> str:
    if row.get("id") is None:
        raise InputError("id is missing", where, 'write "id", that of the problem it answers')
    identity = str(row["id"])
    try:
        identity.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("id holds half of a surrogate pair", where) from None
    return identity


def _samples(row: Mapping[str, Any], where: str) -> Iterator[Answer]:
    if ("completion" in row) == ("samples" in row):
        raise InputError('needs either "completion" or "samples"', where, "write one of them")
    named: dict[str, Any] = {
        "ids": (_identity(row, where),),
        "target": _expected(row),
        "prompts": _prompts(row),
    }
    samples = row.get("samples", [row])
    if not isinstance(samples, list) or not samples:
        raise InputError(
            "samples is not a list with at least one answer",
            where,
            "leave out a problem without an answer, and add --allow-missing",
        )
    for sample in samples:
        value = sample if isinstance(sample, dict) else {"completion": sample}
        text, finish = value.get("completion"), value.get("finish_reason", STOP)
        if type(text) is not str:
            raise InputError(f"completion is {shown(text)}, not text", where, "put it in quotes")
        if finish not in FINISH_REASONS:
            raise InputError(
                f"finish_reason is {shown(finish)}", where, f"write {' or '.join(FINISH_REASONS)}"
            )
        likelihood = _likelihood(value, where)
        yield Answer(where, text_of(text, "completion", where), finish, **named, **likelihood)


def _likelihood(value: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a sample says of its log-probability: of each token, or their sum and number."""
    logprobs = value.get("logprobs")
    if logprobs is not None:
        if not isinstance(logprobs, list):
            raise InputError("logprobs is not a list of numbers", where)
        return logprobs_of(logprobs, where)
    found: dict[str, Any] = {}
    if value.get("sum_logprob") is not None:
        (found["sum_logprob"],) = logprobs_of([value["sum_logprob"]], where)["logprobs"]
    if (count := value.get("token_count")) is not None:
        number = number_of(count)
        if number is None or number < 0 or number != int(number) or number >= 2**31:
            raise InputError(f"token_count is {shown(count)}, not a whole number", where)
        found["tokens"] = int(number)
    return found


def _expected(row: Mapping[str, Any]) -> str | None:
    """The right answer, where a row repeats it, as an exported run does."""
    value = row.get("expected_answer")
    if value is None or isinstance(value, str):
        return value
    return shown(value)


def _prompts(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What was asked, where a row repeats it."""
    value = row.get("prompt")
    return (value,) if isinstance(value, str) else ()


def _check_lines(log: ForeignLog, answered: Answered, problems: pa.Table, dataset: str) -> None:
    """InputError for an id of no problem, and for a row that was made for other problems."""
    names = set(problems["problem_id"].to_pylist())
    unknown = [identity for identity in answered if identity not in names]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(answered)} ids are not in this split of the dataset "
            f"(first: {unknown[0]!r})",
            log.answers[0].where.rpartition(", row ")[0],
            "give the --dataset and the --split that were answered; a file answers one split",
        )
    Matcher(problems, dataset).problems_of(log.answers)
