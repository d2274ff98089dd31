"""Rows of completions arranged for a person to read: failures first, the invisible made visible."""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.text.visible import visible
from schemas.problems import problem_rows
from schemas.result_parts import FailureExample, FailureGroup

CAP = 200
ORDER = ("bad_format", "truncated", "wrong_answer", "correct")
VIEW_COLUMNS = (
    "problem", "prompt", "expected", "completion", "outcome", "code", "reward", "logprob",
    "sample", "tokens", "family",
)  # fmt: skip
EXAMPLE_COLUMNS = ("problem", "prompt", "expected", "completion")
EXAMPLE_CHARACTERS = 200


def joined(problems: pa.Table, completions: pa.Table, scores: pa.Table) -> pa.Table:
    """Every completion with its problem and its verdict, in the completions' order."""
    row = problem_rows(problems, completions["problem_id"])
    columns = {
        "prompt": problems["prompt"].take(row),
        "completion": completions["text"],
        "outcome": scores["outcome"],
        "reward": scores["reward"],
        "expected": problems["expected_answer"].take(row),
        "code": scores["code"],
        "sum_logprob": completions["sum_logprob"],
        "tokens": completions["token_count"],
        "family": problems["family"].take(row),
        "problem": completions["problem_id"],
        "sample": completions["sample_index"],
    }
    return pa.table(columns)


def completions_view(table: pa.Table, cap: int = CAP) -> pd.DataFrame:
    """At most `cap` rows of a `joined` table, failures first, in the columns of `VIEW_COLUMNS`.

    Every outcome has an equal share while it lasts, every code an equal share of its outcome's, and
    every problem is shown once before one is shown twice.
    """
    codes = _rows_by_code(table)
    of_outcome = {name: [rows for (of, _), rows in codes.items() if of == name] for name in ORDER}
    shares = fair_shares([sum(map(len, groups)) for groups in of_outcome.values()], cap)
    chosen: list[int] = []
    for groups, share in zip(of_outcome.values(), shares, strict=True):
        for rows, some in zip(groups, fair_shares([*map(len, groups)], share), strict=True):
            chosen += sorted(rows[:some])
    frame: pd.DataFrame = table.take(pa.array(chosen, pa.int64())).to_pandas()
    for column in ("problem", "prompt", "expected", "completion"):
        frame[column] = [visible(text) for text in frame[column]]
    frame["sum_logprob"] = frame["sum_logprob"].round(3)
    return frame.rename(columns={"sum_logprob": "logprob"})[list(VIEW_COLUMNS)]


def failure_groups(table: pa.Table) -> tuple[FailureGroup, ...]:
    """The failures of a `joined` table by outcome and code, the most frequent first.

    Each has its first example.
    """
    groups = []
    for (outcome, code), rows in _rows_by_code(table).items():
        if outcome != "correct":
            (first,) = table.select(EXAMPLE_COLUMNS).slice(min(rows), 1).to_pylist()
            example = FailureExample(**{name: cut(text) for name, text in first.items()})
            groups.append(
                FailureGroup(outcome=outcome, code=code, completions=len(rows), example=example)
            )
    return tuple(sorted(groups, key=lambda group: -group.completions))


def cut(text: str, longest: int = EXAMPLE_CHARACTERS) -> str:
    """The start of a text, with `…` for the rest."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _rows_by_code(table: pa.Table) -> dict[tuple[str, str], list[int]]:
    """The rows of each outcome and code, the first sample of every problem before any second."""
    order = pc.sort_indices(
        table.select(["sample"]).append_column("row", pa.array(range(table.num_rows))),
        sort_keys=[("sample", "ascending"), ("row", "ascending")],
    ).to_pylist()
    outcomes, codes = table["outcome"].to_pylist(), table["code"].to_pylist()
    groups: dict[tuple[str, str], list[int]] = {}
    for row in order:
        groups.setdefault((outcomes[row], codes[row]), []).append(row)
    by_size = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return dict(sorted(by_size, key=lambda item: ORDER.index(item[0][0])))


def fair_shares(sizes: list[int], cap: int) -> list[int]:
    """How many to take of groups of these sizes, `cap` in all, as evenly as the sizes allow."""
    shares = [0] * len(sizes)
    left = min(cap, sum(sizes))
    while left:
        open_groups = [i for i, size in enumerate(sizes) if shares[i] < size]
        each = max(1, left // len(open_groups))
        for i in open_groups:
            more = min(each, sizes[i] - shares[i], left)
            shares[i] += more
            left -= more
    return shares
