"""What a measurement found, as small frozen values that tasks may pass and results are built of.

The estimates behind them are made in `scorers`; nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.config import Frozen
from schemas.references import Instrument, PolicyRef, TableRef


class Estimate(Frozen):
    """A mean with its 95 % interval, over `problems` problems and `completions` completions."""

    value: float
    low: float
    high: float
    problems: int
    completions: int


class StepRate(Frozen):
    """The pass rate of the policy that has done `step` steps of learning."""

    step: int
    rate: Estimate


class Summary(Frozen):
    """What one scorer said of one completions table.

    `outcomes` and `codes` count completions, `families` holds the pass rate of each family of
    problems that has a name, `right_format` the share of completions whose format was right.
    """

    samples: int
    pass_rate: Estimate
    pass_at_k: Mapping[int, Estimate]
    right_format: Estimate
    outcomes: Mapping[str, int]
    codes: Mapping[str, int]
    families: Mapping[str, Estimate]


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


class SelectedRate(Frozen):
    """What one selection rule picked: its pass rate, and how often a tie was broken."""

    rule: str
    rate: Estimate
    gain: float
    problems_with_ties: int
