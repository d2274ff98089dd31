"""What the results of runs are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.config import SelectionRule
from schemas.engine import EngineRecord
from schemas.instrument import Instrument
from schemas.measurements import ConstantAnswer, Estimate, Summary

EndedBy = Literal["steps", "time"]
DecisionKind = Literal["gate", "rollback"]
Interval = tuple[float, float]  # both ends of a 95 % interval


OMITTED_IF_NONE = Field(
    exclude_if=lambda value: value is None
)  # the key is absent where there is none


class ResultModel(BaseModel):
    """Immutable; an unknown key is an error; can be read from an object with the same names."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)

    def as_json(self) -> dict[str, Any]:
        """The object that is printed and stored, with plain JSON values."""
        return self.model_dump(mode="json")


class InstrumentRecord(ResultModel):
    """The parts of an instrument and their one digest."""

    digest: str
    parts: Instrument

    @classmethod
    def of(cls, instrument: Instrument) -> InstrumentRecord:
        """The record of an instrument."""
        return cls(digest=instrument.digest, parts=instrument)


class ModelRecord(ResultModel):
    """The policy that was measured; without digest and folder where completions were replayed."""

    name: str
    digest: str | None
    folder: str | None


class LearnedModel(ModelRecord):
    """The version that a learning run made, and the name of the policy that it started from."""

    started_from: str | None


class FailureExample(ResultModel):
    """One completion that failed; texts may be cut."""

    problem: str
    prompt: str
    expected: str
    completion: str


class FailureGroup(ResultModel):
    """All completions that failed by one code, and the first of them."""

    outcome: str
    code: str
    completions: int
    example: FailureExample


class RateMetrics(ResultModel):
    """The rates of one measurement, as shares from 0 to 1."""

    pass_rate: float
    pass_rate_low: float
    pass_rate_high: float
    problems: int
    completions: int
    valid_format_rate: float
    mean_reward: float
    pass_at_k: Mapping[int, float]


class RateIntervals(ResultModel):
    """The 95 % intervals that are not among the metrics."""

    pass_at_k: Mapping[int, Interval]
    valid_format_rate: Interval
    mean_reward: Interval


class Control(ResultModel):
    """pass@k of other problems' completions: what guessing without the problem would reach."""

    pass_at_k: Mapping[int, float]


class Rates(ResultModel):
    """Everything that one measurement says of a policy. `codes` counts completions.

    Results of earlier versions have no `best_constant`.
    """

    metrics: RateMetrics
    intervals: RateIntervals
    control: Control
    families: Mapping[str, Estimate]
    codes: Mapping[str, int]
    best_constant: Annotated[ConstantAnswer | None, OMITTED_IF_NONE] = None

    @classmethod
    def of(cls, summary: Summary) -> Rates:
        """The rates of a summary, in the shape of a result."""
        rate = summary.pass_rate
        return cls(
            metrics=RateMetrics(
                pass_rate=rate.value,
                pass_rate_low=rate.low,
                pass_rate_high=rate.high,
                problems=rate.problems,
                completions=rate.completions,
                valid_format_rate=summary.valid_format_rate.value,
                mean_reward=summary.mean_reward.value,
                pass_at_k={k: r.value for k, r in summary.pass_at_k.items()},
            ),
            intervals=RateIntervals(
                pass_at_k={k: (r.low, r.high) for k, r in summary.pass_at_k.items()},
                valid_format_rate=(summary.valid_format_rate.low, summary.valid_format_rate.high),
                mean_reward=(summary.mean_reward.low, summary.mean_reward.high),
            ),
            control=Control(pass_at_k=summary.control),
            families=summary.families,
            codes=summary.codes,
            best_constant=summary.best_constant,
        )


class CompletionRow(ResultModel):
    """One completion beside its problem and its score; log-probability in nats."""

    problem: str
    sample: int
    prompt: str
    expected: str
    completion: str
    outcome: str
    code: str
    reward: float
    sum_logprob: float | None
    tokens: int | None
    family: str | None


class ShownRow(CompletionRow):
    """A row of `threeloops show`; `times` counts equal completions of the same problem."""

    times: int


class ChangedVerdict(ResultModel):
    """One completion that two scorers score differently; each pair is (before, after)."""

    problem_id: str
    sample_index: int
    prompt: str
    completion: str
    expected: str
    reward: tuple[float, float]
    outcome: tuple[str, str]


class VerdictGroup(ResultModel):
    """All completions that changed from one code to another, and the first of them."""

    direction: Literal["lost", "won", "moved"]
    codes: tuple[str, str]
    count: int
    rows: tuple[ChangedVerdict, ...]


class ScorerChange(ResultModel):
    """What a second scorer says differently of the same completions.

    `scored_before` is false where the first scorer was run for this comparison alone.
    """

    before: str
    after: str
    scored_before: bool
    rows: int
    correct_in_both: int
    correct_only_before: int
    correct_only_after: int
    correct_in_neither: int
    groups: tuple[VerdictGroup, ...]


class SelectionMetrics(RateMetrics):
    """Loop B's rates: those of all samples, and of what each rule picked."""

    pass_at_1: float
    selected_pass_rate: Mapping[SelectionRule, float]


class BestOfN(ResultModel):
    """KL(best of N ‖ policy) in nats for the rule `oracle`, and its bound log N − (N − 1)/N."""

    samples: int
    divergence_nats: Estimate
    bound_nats: float


class LearningMetrics(ResultModel):
    """Loop C in numbers. KL is to the start, in nats a completion.

    `clipped_steps` counts the steps whose gradient was scaled down to `max_gradient_norm`; None
    where it was not recorded.
    """

    pass_rate_before: float
    pass_rate_after: float
    kl_nats: float
    steps: int
    wall_seconds: float
    seconds_per_step: float | None
    problems: int
    completions: int
    clipped_steps: Annotated[int | None, OMITTED_IF_NONE] = None


class DevRate(Estimate):
    """The pass rate on the split dev after `step` steps."""

    step: int


class ComparedRun(ResultModel):
    """One side of a comparison; `instrument` is a digest, `tables` are digests by name."""

    name: str
    run_id: str
    loop: str
    loop_name: str
    changed: str
    stage: str | None
    rule: str | None
    model: str
    model_digest: str | None
    problems: int
    samples: int
    instrument: str
    tables: Mapping[str, str]
    kl_nats: Annotated[float | None, OMITTED_IF_NONE] = None
    steps: Annotated[int | None, OMITTED_IF_NONE] = None
    engine: Annotated[EngineRecord | None, OMITTED_IF_NONE] = None


class PairedDifference(ResultModel):
    """The second run's pass rate minus the first's (`scorers.statistics.paired.Difference`)."""

    value: float
    low: float
    high: float
    problems: int
    better: int
    worse: int
    detectable: float


class FlippedAnswer(ResultModel):
    """One completion that stands for a problem's others."""

    text: str
    code: str


class FlippedProblem(ResultModel):
    """A problem with another pass rate in each run; pairs are (correct, all) completions."""

    problem_id: str
    prompt: str
    expected_answer: str
    before: tuple[int, int]
    after: tuple[int, int]
    answer_before: FlippedAnswer
    answer_after: FlippedAnswer


class Flipped(ResultModel):
    """The first of the problems that the second run solved more often, and less often."""

    better: tuple[FlippedProblem, ...]
    worse: tuple[FlippedProblem, ...]


class Candidate(ResultModel):
    """The version that asks to be champion."""

    name: str
    digest: str
    run_id: str


class Opponent(ResultModel):
    """What a candidate is compared with: the champion, or the start; empty where not known."""

    role: str
    name: str
    digest: str


class Rollback(ResultModel):
    """A champion that was taken back to the one before.

    - `by`: the user name, as the environment has it.
    - `at`: ISO 8601, UTC.
    - `reason`: one line, in which characters that a terminal would obey are escapes.
    """

    from_version: str
    to_version: str
    by: str
    at: str
    reason: str


class GateLevel(ResultModel):
    """What the gate held a gain to: the k-th look, or confirmation, has an interval of this level.

    `low` and `high` are the ends of that interval, as rates.
    """

    look: int
    level: float
    low: float
    high: float


class DemoRow(ResultModel):
    """One line of the table that compares the loops."""

    loop: Literal["A", "B", "C"]
    changed: str
    what: str
    problems: Annotated[int | None, OMITTED_IF_NONE] = None
    pass_at_1: float
    pass_at_1_interval: Interval
    pass_at_4: float | None
    pass_at_4_interval: Interval | None
    valid_format_rate: float | None
    kl_nats: float | None
    best_constant: Annotated[ConstantAnswer | None, OMITTED_IF_NONE] = None
