"""What Prefect's page shows of a flow run: progress, and at its end a table and a summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast
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
from schemas.results import Decision, LearningResult, LoopResult, SelectionResult
from tasks.runtime.progress import Event, Progress
from tasks.runtime.runtime import Runtime
from tasks.runtime.side_channel import SideChannel

LONG_SECONDS = 3.0  # work that ends sooner needs no progress
UPDATE_SECONDS = 5.0


@dataclass
class Shown:
    """When a piece of work was last published, and as which artifact."""

    published: float
    artifact: UUID | None = None


@dataclass
class ProgressArtifacts:
    """A listener that shows long work as a progress artifact of the task or flow run it is in.

    One artifact for each piece of work, at most one call to Prefect's server in five seconds.
    """

    channel: SideChannel
    now: Callable[[], float] = time.monotonic
    _shown: dict[str, Shown] = field(default_factory=dict)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress) and not event.part:
            self._show(event)

    def _show(self, progress: Progress) -> None:
        shown = self._shown.setdefault(progress.work, Shown(self.now()))
        ended = progress.done >= progress.total
        waited = self.now() - shown.published
        if shown.artifact is None:
            due = waited >= LONG_SECONDS and not ended
        else:
            due = ended or waited >= UPDATE_SECONDS
        if due:
            self.channel.publish_best_effort(
                f"how far {progress.work} is", lambda: _publish(shown, progress)
            )
            shown.published = self.now()
        if ended:
            del self._shown[progress.work]


def _publish(shown: Shown, progress: Progress) -> None:
    share = 100.0 * progress.done / progress.total
    words = progress.words
    if shown.artifact is None:
        # in a flow that is not async it is no coroutine
        shown.artifact = cast(UUID, create_progress_artifact(share, description=words))
    else:
        update_progress_artifact(shown.artifact, share, description=words)


@contextmanager
def showing_progress(runtime: Runtime) -> Iterator[None]:
    """Within the block, long work in a flow run has its progress on Prefect's page.

    A flow inside a flow is shown by the outer one's listener.
    """
    shown = any(isinstance(one, ProgressArtifacts) for one in runtime.progress.listeners)
    if FlowRunContext.get() is None or shown:
        yield
        return
    with runtime.progress.listening(ProgressArtifacts(runtime.side_channel)):
        yield


def publish_result(channel: SideChannel, result: LoopResult) -> None:
    """Give the flow run its result as a table and its summary as markdown."""
    if FlowRunContext.get() is not None:
        channel.publish_best_effort("the result", lambda: _create_result(result))


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


def publish_decision(channel: SideChannel, decided: Decision) -> None:
    """Give the flow run the gate's decision as markdown."""
    if FlowRunContext.get() is not None:
        channel.publish_best_effort("the gate's decision", lambda: _create_decision(decided))


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
