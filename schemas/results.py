"""What a run found, as the one typed object that `--json` prints and every page is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from schemas.config import EvalConfig, LearningConfig, SelectionConfig, SelectionRule
from schemas.engine import EngineRecord
from schemas.imported import ImportedFrom, PartialAnswers
from schemas.measurements import Estimate, SelectedRate
from schemas.result_parts import (
    OMITTED_IF_NONE,
    BestOfN,
    Candidate,
    ComparedRun,
    DecisionKind,
    DemoRow,
    DevRate,
    EndedBy,
    FailureGroup,
    Flipped,
    GateLevel,
    InstrumentRecord,
    LearnedModel,
    LearningMetrics,
    ModelRecord,
    Opponent,
    PairedDifference,
    Rates,
    ResultModel,
    Rollback,
    ScorerChange,
    SelectionMetrics,
    ShownRow,
)

RESULT_FORMAT = 3  # raised when the keys of a result change


class ResultHead(ResultModel):
    """What every loop's result begins with.

    `tables` are the paths of the stored tables, `pictures` those of PNG files, `report` that of
    the HTML page, None where it could not be made. `rows` is what `threeloops show` lists.
    `imported` says which program made replayed completions, `partial` what of them was missing.
    `engine` is the server that made them, where one did.
    """

    run_id: str
    loop_name: str
    changed: str
    instrument: InstrumentRecord
    outcomes: Mapping[str, int]
    failures: tuple[FailureGroup, ...]
    tables: Mapping[str, str]
    samples: int
    pictures: Mapping[str, str] = {}
    report: str | None = None
    format: int = RESULT_FORMAT
    rows: Annotated[tuple[ShownRow, ...] | None, OMITTED_IF_NONE] = None
    imported: Annotated[ImportedFrom | None, OMITTED_IF_NONE] = None
    partial: Annotated[PartialAnswers | None, OMITTED_IF_NONE] = None
    engine: Annotated[EngineRecord | None, OMITTED_IF_NONE] = None


class EvalResult(ResultHead, Rates):
    """The result of loop A. `changes` is there after `threeloops rescore`."""

    loop: Literal["A"] = "A"
    model: ModelRecord
    config: EvalConfig
    changes: Annotated[ScorerChange | None, OMITTED_IF_NONE] = None


class SelectionResult(ResultHead, Rates):
    """The result of loop B."""

    loop: Literal["B"] = "B"
    model: ModelRecord
    metrics: SelectionMetrics
    config: SelectionConfig
    selected: Mapping[SelectionRule, SelectedRate]
    best_of_n: BestOfN


class LearningResult(ResultHead):
    """The result of loop C. `outcomes` and `failures` are those after learning.

    `gain` is the paired difference of pass@1, after minus before; results of earlier versions have
    none. `ended_by` is `time` where no other step fitted into `max_minutes`: how many did is then
    not the same from run to run.
    """

    loop: Literal["C"] = "C"
    model: LearnedModel
    metrics: LearningMetrics
    config: LearningConfig
    ended_by: EndedBy = "steps"
    kl_nats: Estimate
    gain: Annotated[PairedDifference | None, OMITTED_IF_NONE] = None
    dev: tuple[DevRate, ...]
    before: Rates
    after: Rates
    outcomes_before: Mapping[str, int]
    gate: Annotated[Decision | None, OMITTED_IF_NONE] = None


LoopResult = EvalResult | SelectionResult | LearningResult


class Comparison(ResultModel):
    """Two runs and the parts in which their instruments differ; a refusal where one may not.

    `reading` are sentences on what a difference between the two can mean.
    """

    comparable: bool
    same_instrument: bool
    differs: Mapping[str, tuple[str, str]]
    refused_parts: tuple[str, ...]
    allowed: tuple[str, ...]
    instrument: InstrumentRecord
    runs: tuple[ComparedRun, ComparedRun]
    reading: tuple[str, ...]
    exit_code: Annotated[int | None, OMITTED_IF_NONE] = None


class RatedComparison(Comparison):
    """A comparison that was allowed, with both rates and their paired difference."""

    pass_rates: tuple[Estimate, Estimate]
    difference: PairedDifference
    test: str
    p_value: float
    families: Mapping[str, PairedDifference]
    flipped: Flipped
    left_out: tuple[int, int]


class Decision(ResultModel):
    """What the gate decided, every reason against, and the evidence. `min_gain` is a rate.

    `held` says how strict this look at the evidence was; decisions of earlier versions have none.
    `repeated` has a line for each measurement that adds nothing, because its seed was used before.
    `fresh` is the gain of a version that passed, measured again on samples that nobody had seen,
    and `fresh_held` says how strict that confirmation was: it must show the gain too. `gain` was
    measured after that. It decided nothing, so being promoted does not make it larger.
    `gain_missing` says why a version that was promoted has no `gain`.

    A `kind` of `rollback` is no answer of the gate: it made the `candidate` champion again, whose
    former place `against` has, and needs no evidence.
    """

    kind: DecisionKind = "gate"
    decision: str
    promoted: bool
    reasons: tuple[str, ...]
    candidate: Candidate
    against: Opponent
    min_gain: float
    pairs_considered: int
    evidence: RatedComparison | None
    held: Annotated[GateLevel | None, OMITTED_IF_NONE] = None
    repeated: tuple[str, ...] = ()
    fresh: Annotated[RatedComparison | None, OMITTED_IF_NONE] = None
    fresh_held: Annotated[GateLevel | None, OMITTED_IF_NONE] = None
    gain: Annotated[RatedComparison | None, OMITTED_IF_NONE] = None
    gain_missing: Annotated[str | None, OMITTED_IF_NONE] = None
    champion: str | None = None
    rollback: Annotated[Rollback | None, OMITTED_IF_NONE] = None
    run_id: str = ""
    exit_code: Annotated[int | None, OMITTED_IF_NONE] = None


class DemoResult(ResultModel):
    """What a demo's own run keeps: the table, and the runs of its three loops by letter."""

    run_id: str
    loop: Literal["ABC"] = "ABC"
    demo: tuple[DemoRow, ...]
    runs: Mapping[str, str]
    model: LearnedModel
    instrument: InstrumentRecord
    config: LearningConfig
    format: int = RESULT_FORMAT
