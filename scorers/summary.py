"""What a scores table says, in a few numbers: rates with intervals, and counts of what went wrong.

It estimates nothing itself (see `scorers.estimates`) and judges no text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy import stats

from schemas.errors import InputError
from schemas.results import Estimate, Summary
from schemas.scores import OUTCOMES
from scorers.best_of_n import shuffled_pass_at_k
from scorers.estimates import family_rates, pass_at_k, pass_rate

FORMED = ("correct", "wrong_answer")


def summarize(problems: pa.Table, scores: pa.Table) -> Summary:
    """Summarise the scores of B problems × N completions, problem by problem.

    Rewards must be 0 or 1. Raises InputError when problems and scores do not match.
    """
    ids = problems["problem_id"].to_pylist()
    samples, rest = divmod(scores.num_rows, len(ids))
    if rest or scores["problem_id"].to_pylist() != [i for i in ids for _ in range(samples)]:
        raise InputError(
            f"{scores.num_rows} scores do not belong to these {len(ids)} problems",
            remedy="score the completions of these problems",
        )
    shape = (len(ids), samples)
    correct = (scores["reward"].to_numpy().reshape(shape) == 1).sum(axis=1)
    outcomes = np.array(scores["outcome"].to_pylist(), dtype=object).reshape(shape)
    formed = np.isin(outcomes, FORMED).sum(axis=1)
    counted = Counter(outcomes.ravel())
    return Summary(
        samples=samples,
        pass_rate=pass_rate(correct, samples),
        pass_at_k=pass_at_k(correct, samples),
        right_format=pass_rate(formed, samples),
        outcomes={name: counted[name] for name in OUTCOMES},
        codes=dict(Counter(scores["code"].to_pylist()).most_common()),
        families=family_rates(correct, samples, problems["family"].to_pylist()),
        control=_control(problems, scores, samples),
    )


def _control(problems: pa.Table, scores: pa.Table, samples: int) -> dict[int, float]:
    if samples < 2 or problems.num_rows < 2:
        return {}
    parsed = np.array(scores["parsed_answer"].to_pylist(), dtype=object).reshape(-1, samples)
    return shuffled_pass_at_k(parsed.tolist(), problems["expected_answer"].to_pylist())


def mean_over_problems(values: Sequence[Sequence[float]], level: float = 0.95) -> Estimate:
    """The mean of an unbounded quantity, [B][N], with Student's interval over problem means.

    Raises InputError with fewer than two problems: from one there is no spread to judge by.
    """
    means = np.array([np.mean(of_one) for of_one in values], dtype=np.float64)
    if len(means) < 2:
        raise InputError("an interval needs two problems or more", remedy="raise --limit")
    half = stats.t.ppf((1 + level) / 2, len(means) - 1) * stats.sem(means)
    value = float(means.mean())
    return Estimate(
        value=value,
        low=value - float(half),
        high=value + float(half),
        problems=len(means),
        completions=sum(len(of_one) for of_one in values),
    )
