"""What Prefect's page shows of a flow run: progress, and at its end a table and a summary.

It repeats what was recorded and measures nothing. Outside a flow run it does nothing, and a server
that does not answer costs the page its pictures, never the run its work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import FlowRunContext

from artifacts.text.describe import describe_result
from artifacts.text.markdown import code
from artifacts.text.numbers import percent, points, rate_interval
from artifacts.text.rates import rate_rows
from schemas.loops import AFTER, BEFORE
from schemas.measurements import Estimate
from schemas.results import (
    Decision,
    EvalResult,
    LearningResult,
    LoopResult,
    SelectionResult,
)
from tasks.runtime.progress import Progress, listening, log_message

ResultT = TypeVar("ResultT", EvalResult, SelectionResult, LearningResult)
LONG_SECONDS = 3.0  # work that ends sooner needs no progress
UPDATE_SECONDS = 5.0
PAUSE_SECONDS = 300.0
_paused = {"until": 0.0}
_showing: ContextVar[bool] = ContextVar(
    "whether a flow around this one shows progress", default=False
)


def publish_best_effort(what: str, show: Callable[[], object]) -> None:
    """Show something on Prefect's page if that can be done; else a line says what it lacks.

    Prefect asks a server that does not answer for half a minute. So after one failure nothing is
    offered for `PAUSE_SECONDS`.
    """
    if time.monotonic() < _paused["until"]:
        return
    try:
        show()
    except Exception as error:  # whatever it is, the run has its work done and its tables kept
        _paused["until"] = time.monotonic() + PAUSE_SECONDS
        log_message(f"warning: Prefect's page will not show {what} ({type(error).__name__})")


@dataclass
class Shown:
    """When a piece of work was last told of, and by which artifact."""

    told: float
    artifact: UUID | None = None


@dataclass
class ProgressArtifacts:
    """A listener that shows long work as a progress artifact of the task or flow run it is in.

    One artifact for each piece of work, at most one call to Prefect's server in five seconds.
    """

    now: Callable[[], float] = time.monotonic
    _shown: dict[str, Shown] = field(default_factory=dict)

    def __call__(self, progress: Progress) -> None:
        if not progress.total or progress.work.startswith("step "):
            return  # a step's own samples are a part of learning, which tells of itself
        shown = self._shown.setdefault(progress.work, Shown(self.now()))
        ended = progress.done >= progress.total
        waited = self.now() - shown.told
        if shown.artifact is None:
            due = waited >= LONG_SECONDS and not ended
        else:
            due = ended or waited >= UPDATE_SECONDS
        if due:
            publish_best_effort(f"how far {progress.work} is", lambda: _tell(shown, progress))
            shown.told = self.now()
        if ended:
            del self._shown[progress.work]


def _tell(shown: Shown, progress: Progress) -> None:
    share = 100.0 * progress.done / progress.total
    notes = "".join(f", {name} {value}" for name, value in progress.notes.items())
    words = f"{progress.work}: {progress.done} of {progress.total} {progress.unit}{notes}"
    if shown.artifact is None:
        # in a flow that is not async it is no coroutine
        shown.artifact = cast(UUID, create_progress_artifact(share, description=words))
    else:
        update_progress_artifact(shown.artifact, share, description=words)


@contextmanager
def showing_progress() -> Iterator[None]:
    """Within the block, long work in a flow run has its progress on Prefect's page."""
    if FlowRunContext.get() is None or _showing.get():
        yield
        return
    token = _showing.set(True)
    try:
        with listening(ProgressArtifacts()):
            yield
    finally:
        _showing.reset(token)


def publish_result(result: ResultT) -> ResultT:
    """Give the flow run its result as a table and its summary as markdown; returns the result."""
    if FlowRunContext.get() is not None:
        publish_best_effort("the result", lambda: _create_result(result))
    return result


def _create_result(result: LoopResult) -> None:
    name = result.loop_name
    create_table_artifact(
        table=result_rows(result),
        key=f"{name}-result",
        description=f"Loop {result.loop}, {name}: rates with 95 % intervals over problems",
    )
    create_markdown_artifact(
        describe_result(result), key=f"{name}-summary", description=f"Loop {result.loop}"
    )


def publish_decision(decided: Decision) -> None:
    """Give the flow run the gate's decision as markdown."""
    if FlowRunContext.get() is not None:
        publish_best_effort("the gate's decision", lambda: _create_decision(decided))


def _create_decision(decided: Decision) -> None:
    against = decided.against
    lines = [
        f"### {code(decided.candidate.name)}: {decided.decision}",
        f"against the {against.role}, {code(against.name or 'not known')}",
        *(f"- {code(reason, longest=400)}" for reason in decided.reasons),
    ]
    create_markdown_artifact("\n\n".join(lines), key="gate", description="The gate's decision")


def day_of_flow_run() -> int:
    """The date (UTC) that the flow run was planned for, as a number such as 20261129."""
    context = FlowRunContext.get()
    planned = context.flow_run.expected_start_time if context and context.flow_run else None
    return int(f"{planned or datetime.now(UTC):%Y%m%d}")


def result_rows(result: LoopResult) -> list[dict[str, str]]:
    """A result as rows of text: what, rate, 95 % interval, problems and samples."""
    if isinstance(result, LearningResult):
        return [
            _row(f"{row.title} {stage}", row.cells[0], result.samples)
            for stage, side in ((BEFORE, result.before), (AFTER, result.after))
            for row in rate_rows(side)
        ]
    rows = [_row(row.title, row.cells[0], result.samples) for row in rate_rows(result)]
    if isinstance(result, SelectionResult):
        for picked in result.selected.values():
            row = _row(f"picked by {picked.rule}", picked.rate, samples=1)
            rows.append(row | {"gain in points": points(picked.gain.value)})
    return rows


def _row(what: str, rate: Estimate, samples: int) -> dict[str, str]:
    return {
        "what": what,
        "rate": percent(rate.value),
        "95 % interval": rate_interval(rate),
        "problems": str(rate.problems),
        "samples": str(samples),
    }
