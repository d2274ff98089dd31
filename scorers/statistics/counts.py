"""How many completions of each problem are correct: the counts that rates are estimated from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

Counts = dict[str, tuple[int, int]]


def correct_counts(scores: pa.Table) -> Counts:
    """For each problem how many of its completions earned a reward of 1, and how many it has.

    The problems come in the order in which the table names them first.
    """
    # numbers the problems in that order, which Arrow's group_by would not keep
    problems = scores["problem_id"].combine_chunks().dictionary_encode()
    number = problems.indices.to_numpy()
    total = np.bincount(number, minlength=len(problems.dictionary))
    correct = np.bincount(number[scores["reward"].to_numpy() == 1.0], minlength=len(total))
    pairs = zip(correct.tolist(), total.tolist(), strict=True)
    return dict(zip(problems.dictionary.to_pylist(), pairs, strict=True))
