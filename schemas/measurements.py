"""What a measurement found, as small frozen values that tasks pass and results are built of."""

from __future__ import annotations

from collections.abc import Mapping

from schemas.config import SelectionRule
from schemas.frozen import Frozen
from schemas.instrument import Instrument
from schemas.references import PolicyRef, TableRef


class Estimate(Frozen):
    """A mean with its 95 % interval, over `problems` problems and `completions` completions."""

    value: float
    low: float
    high: float
    problems: int
    completions: int


class ConstantAnswer(Frozen):
    """The answer that is expected most often: the pass rate of giving it to every problem.

    `rate` is `correct / problems`. It is counted, not estimated, so it has no interval. Of several
    answers that are expected equally often it is the smallest.
    """

    answer: str
    rate: float
    correct: int
    problems: int


class StepRate(Frozen):
    """The pass rate of the policy that has done `step` steps of learning."""

    step: int
    rate: Estimate


class Summary(Frozen):
    """What one scorer said of one completions table.

    `outcomes` and `codes` count completions, `families` holds the pass rate of each family of
    problems that has a name, `valid_format_rate` the share of completions whose format was right.
    `pass_rate` counts rewards of 1 alone; `mean_reward` is the same unless a scorer gives parts.
    `control` is pass@k of other problems' answers
    (`scorers.statistics.best_of_n.shuffled_pass_at_k`), empty where there are fewer than two
    problems or samples. `best_constant` is what always giving one answer would reach.
    """

    samples: int
    pass_rate: Estimate
    pass_at_k: Mapping[int, Estimate]
    valid_format_rate: Estimate
    mean_reward: Estimate
    outcomes: Mapping[str, int]
    codes: Mapping[str, int]
    families: Mapping[str, Estimate]
    control: Mapping[int, float]
    best_constant: ConstantAnswer


class Measurement(Frozen):
    """A summary, the instrument that it was taken with, and the tables that it was taken from.

    `policy` is None when the completions were stored ones.
    """

    policy: PolicyRef | None
    problems: TableRef
    completions: TableRef
    scores: TableRef
    instrument: Instrument
    summary: Summary


class Gain(Frozen):
    """A paired difference of rates with its 95 % interval."""

    value: float
    low: float
    high: float


class SelectedRate(Frozen):
    """What one selection rule picked.

    - `rate`: the pass rate of its picks.
    - `gain`: over pass@1 of the same samples, paired by problem.
    - `rate_over_ties`: the rate without the luck of breaking ties: each problem counts with the
      mean reward of all the completions that the rule held equally good.
    - `problems_with_ties`: where there was more than one of those.
    - `problems_contested`: where those had different rewards, so that the draw decided.
    """

    rule: SelectionRule
    rate: Estimate
    gain: Gain
    rate_over_ties: Estimate
    problems_with_ties: int
    problems_contested: int


class Selection(Frozen):
    """What every rule picked, and what picking the best of N costs.

    `divergence_nats` is the mean over problems of KL(best-of-N policy ‖ policy) for the rule
    `oracle`, at the measured pass rates; `divergence_bound_nats` is log N − (N − 1)/N.
    """

    picks: TableRef
    rates: tuple[SelectedRate, ...]
    divergence_nats: Estimate
    divergence_bound_nats: float


class Learned(Frozen):
    """What a learning run has made of a policy, before it is registered.

    `kl_nats` is KL(trained ‖ start) in nats a completion. `seconds_per_step` is None where every
    step had been done before.
    """

    start: PolicyRef
    trained: PolicyRef
    before: Measurement
    after: Measurement
    kl_nats: Estimate
    training: TableRef
    dev: tuple[StepRate, ...]
    wall_seconds: float
    seconds_per_step: float | None
