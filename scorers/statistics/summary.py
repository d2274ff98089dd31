"""A scores table in a few numbers: rates with intervals, and counts of what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import stdtrit

from schemas.errors import InputError
from schemas.measurements import ConstantAnswer, Estimate, Summary
from schemas.problems import problem_rows
from schemas.scores import OUTCOMES
from scorers.statistics.best_of_n import shuffled_pass_at_k
from scorers.statistics.estimates import family_rates, mean_rate, pass_at_k, pass_rate

FORMED = ("correct", "wrong_answer")
FURTHER = 2.0  # times as far as the furthest problem, where one that was not drawn may be


def summarize(problems: pa.Table, scores: pa.Table) -> Summary:
    """Summarise the scores of B problems × N completions, problem by problem.

    A completion passes with a reward of 1; smaller rewards count only in the mean reward. Raises
    InputError when problems and scores do not match.
    """
    ids = problems["problem_id"]
    samples, rest = divmod(scores.num_rows, len(ids))
    row = problem_rows(problems, scores["problem_id"]).to_numpy()
    if rest or not np.array_equal(row, np.repeat(np.arange(len(ids)), samples)):
        raise InputError(
            f"{scores.num_rows} scores do not belong to these {len(ids)} problems",
            remedy="score the completions of these problems",
        )
    shape = (len(ids), samples)
    rewards = scores["reward"].to_numpy().reshape(shape)
    correct = (rewards == 1).sum(axis=1)
    well_formed = pc.is_in(scores["outcome"], pa.array(FORMED)).to_numpy()
    outcomes, codes = _counts(scores["outcome"]), _counts(scores["code"])
    return Summary(
        samples=samples,
        pass_rate=pass_rate(correct, samples),
        pass_at_k=pass_at_k(correct, samples),
        valid_format_rate=pass_rate(well_formed.reshape(shape).sum(axis=1), samples),
        mean_reward=mean_rate(rewards.mean(axis=1), samples),
        outcomes={name: outcomes[name] for name in OUTCOMES},
        codes=dict(codes.most_common()),
        families=family_rates(correct, samples, problems["family"].to_pylist()),
        control=_control(problems, scores, shape),
        best_constant=best_constant(problems["expected_answer"].to_pylist()),
    )


def best_constant(expected: Sequence[str]) -> ConstantAnswer:
    """The most frequent of the expected answers of some problems, integers in plain digits.

    Raises InputError without problems.
    """
    if not expected:
        raise InputError("there are no problems, so no answer is right for most of them")
    counts = Counter(expected)
    most = max(counts.values())
    often = [answer for answer, count in counts.items() if count == most]
    return ConstantAnswer(
        answer=min(often, key=_in_order),
        rate=most / len(expected),
        correct=most,
        problems=len(expected),
    )


def _in_order(answer: str) -> tuple[bool, int, str]:
    """Puts integers in order without converting them: they may have millions of digits."""
    digits = answer.removeprefix("-")
    if answer == digits:
        return True, len(digits), digits
    flipped = digits.translate(str.maketrans("0123456789", "9876543210"))
    return False, -len(digits), flipped


def _counts(column: pa.ChunkedArray) -> Counter[str]:
    return Counter({item["values"]: item["counts"] for item in column.value_counts().to_pylist()})


def _control(problems: pa.Table, scores: pa.Table, shape: tuple[int, int]) -> dict[int, float]:
    if min(shape) < 2:
        return {}
    parsed = scores["parsed_answer"].to_numpy().reshape(shape)
    return shuffled_pass_at_k(parsed, problems["expected_answer"].to_pylist())


def mean_over_problems(values: Sequence[Sequence[float]], level: float = 0.95) -> Estimate:
    """The mean of an unbounded quantity that is 0 or more, such as KL, from [B][N] measurements.

    The interval is Student's over problem means, together with the same of one problem more, which
    is `FURTHER` times as far above the mean as the furthest that was drawn: KL differs much from
    problem to problem, and a few problems with a large one may not have been drawn. Its width is 0
    only where every measurement is.

    `bench.referee` measures how often it holds the true mean, for problems whose KL is spread like
    a gamma and like a skewed log-normal distribution: in 93 % or more from 20 problems on, but for
    5 problems with 16 samples of the skewed kind in 92 %. It holds for no quantity whose mean is
    made by rarer problems than those: no interval of a finite width does for every spread of an
    unbounded quantity (Bahadur and Savage, 1956).

    Raises InputError with fewer than two problems, because one problem has no spread, and for a
    measurement that is not a finite number.
    """
    means = np.array([np.mean(of_one) for of_one in values], dtype=np.float64)
    if len(means) < 2:
        raise InputError("an interval needs two problems or more", remedy="raise --limit")
    if not np.all(np.isfinite(means)):
        raise InputError("a problem's measurements are not finite numbers, so they have no mean")
    value = float(means.mean())
    further = value + FURTHER * max(float(np.abs(means - value).max()), abs(value))
    as_drawn, with_one_more = _student(means, level), _student(np.append(means, further), level)
    return Estimate(
        value=value,
        low=min(as_drawn[0], with_one_more[0], value),
        high=max(as_drawn[1], with_one_more[1], value),
        problems=len(means),
        completions=sum(len(of_one) for of_one in values),
    )


def _student(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Student's interval for the mean of what [B] numbers were drawn from."""
    half = stdtrit(len(means) - 1, (1 + level) / 2) * means.std(ddof=1) / np.sqrt(len(means))
    return float(means.mean() - half), float(means.mean() + half)
