"""Rows of completions arranged for a person to read: failures first, the invisible made visible.

They are samples for the eye; every count comes from the full tables.
"""

from __future__ import annotations

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.visible import visible

CAP = 200
OUTCOME_ORDER = ("bad_format", "truncated", "wrong_answer", "correct")


def joined(problems: pa.Table, completions: pa.Table, scores: pa.Table) -> pa.Table:
    """Every completion with its problem and its verdict, in the completions' order."""
    row = pc.index_in(completions["problem_id"], problems["problem_id"].combine_chunks())
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


def completions_view(
    problems: pa.Table, completions: pa.Table, scores: pa.Table, cap: int = CAP
) -> pd.DataFrame:
    """At most `cap` rows, every outcome given an equal share while it lasts, failures first."""
    table = joined(problems, completions, scores)
    rows = [pc.indices_nonzero(pc.equal(table["outcome"], name)) for name in OUTCOME_ORDER]
    shares = fair_shares([len(found) for found in rows], cap)
    chosen = pa.concat_arrays(
        [found.slice(0, share) for found, share in zip(rows, shares, strict=True)]
    )
    frame: pd.DataFrame = table.take(chosen).to_pandas()
    for column in ("prompt", "completion"):
        frame[column] = [visible(text) for text in frame[column]]
    return frame


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
