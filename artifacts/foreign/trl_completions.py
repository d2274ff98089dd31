"""Completions tables of TRL's trainers (`log_completions`): Parquet, one file a training step."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.datasets.rows import UNREADABLE
from artifacts.foreign.answers import Answer, ForeignLog, completion_text, last_question, own_score
from artifacts.store.parquet_size import check_decoded_size
from schemas.errors import InputError

FORMAT, TOOL = "trl", "trl"
NEEDED = ("step", "prompt", "completion")
NO_SCORES = ("step", "advantage")
MOST_BYTES = 4 * 2**30  # unpacked


def read(path: Path) -> ForeignLog:
    """Every completion of one step. Each float column but the advantage is a reward of TRL's.

    TRL records no finish reason, model name or version. InputError for more than one step, because
    each has another policy.
    """
    table = _table(path)
    if missing := [name for name in NEEDED if name not in table.column_names]:
        raise InputError(f"has no column {', '.join(missing)}", str(path), "give a table of TRL's")
    steps = table["step"].unique().to_pylist()
    if len(steps) != 1:
        raise InputError(
            f"holds the steps {steps[0]} to {steps[-1]}, each by another policy"
            if steps
            else "has no rows",
            str(path),
            "give the file of one step",
        )
    rewards = [
        name
        for name in table.column_names
        if pa.types.is_floating(table.schema.field(name).type) and name not in NO_SCORES
    ]
    times: Counter[str] = Counter()
    answers = []
    for number, row in enumerate(table.to_pylist(), start=1):
        where = f"{path}, row {number}"
        asked = json.dumps(row["prompt"], sort_keys=True, default=str)
        scores = {name: own_score(row[name]) for name in rewards}
        answers.append(
            Answer(
                where=where,
                text=completion_text(row["completion"], where),
                prompts=last_question(row["prompt"]),
                place=times[asked],
                own_scores={name: value for name, value in scores.items() if value is not None},
            )
        )
        times[asked] += 1
    return ForeignLog(FORMAT, tuple(answers), TOOL)


def _table(path: Path) -> pa.Table:
    try:
        check_decoded_size(path, NEEDED)
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > MOST_BYTES:
            raise InputError(f"holds more than {MOST_BYTES // 2**30} GB", str(path), "split it")
        table = pq.read_table(path)
        _ = table.column_names
        return table
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"is not a readable Parquet file ({reason})", str(path)) from None
