"""What a demo found, kept in the run that its three loops are children of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from artifacts.text.demo_table import DEMO_COLUMNS, ORACLE_MARK, demo_cells, demo_notes
from artifacts.text.markdown import code, table
from artifacts.text.numbers import percent
from artifacts.text.rates import needs_answer
from artifacts.tracking.connection import RESULT_FILE
from artifacts.tracking.run import TrackedRun
from schemas.config import LearningConfig
from schemas.result_parts import DemoRow, Interval, Rates
from schemas.results import DemoResult, EvalResult, LearningResult, SelectionResult

K = 4  # the table shows pass@1 and pass@4
NUMBERS_FROM = 3  # the columns from this place on hold numbers


def demo_rows(
    evaluation: EvalResult, selection: SelectionResult, learning: LearningResult
) -> tuple[DemoRow, ...]:
    """Before and after for each loop: pass@1, pass@4, valid format, and KL to the start in nats.

    For loop B the model stays; the divergence is that of what the oracle picks.
    """
    start = _row("A", "nothing", "the start, measured", evaluation, kl_nats=0.0)
    picked = [
        DemoRow(
            loop="B",
            changed="the output",
            what=f"best of {selection.samples} by {rule}"
            + (ORACLE_MARK if needs_answer(rule) else ""),
            pass_at_1=chosen.rate.value,
            pass_at_1_interval=(chosen.rate.low, chosen.rate.high),
            pass_at_4=None,
            pass_at_4_interval=None,
            valid_format_rate=None,
            kl_nats=selection.best_of_n.divergence_nats.value if needs_answer(rule) else None,
        )
        for rule, chosen in selection.selected.items()
    ]
    what = f"after {learning.metrics.steps} steps"
    end = _row("C", "the model", what, learning.after, kl_nats=learning.metrics.kl_nats)
    return (start, *picked, end)


def _row(loop: str, changed: str, what: str, rates: Rates, *, kl_nats: float) -> DemoRow:
    metrics = rates.metrics
    interval: Interval | None = rates.intervals.pass_at_k.get(K)
    return DemoRow.model_validate(
        {
            "loop": loop,
            "changed": changed,
            "what": what,
            "problems": metrics.problems,
            "pass_at_1": metrics.pass_rate,
            "pass_at_1_interval": (metrics.pass_rate_low, metrics.pass_rate_high),
            "pass_at_4": metrics.pass_at_k.get(K),
            "pass_at_4_interval": interval,
            "valid_format_rate": metrics.valid_format_rate,
            "kl_nats": kl_nats,
            "best_constant": rates.best_constant,
        }
    )


def record_demo(
    run: TrackedRun,
    config: LearningConfig,
    rows: Sequence[DemoRow],
    selection: SelectionResult,
    learned: LearningResult,
    runs: Mapping[str, str],
) -> None:
    """Keep the table that compares the loops, as description, metrics and result.

    `runs` are the ids of the three loops' runs by letter.
    """
    run.metrics(
        {
            "pass_rate_before": learned.metrics.pass_rate_before,
            "pass_rate_after": learned.metrics.pass_rate_after,
            "kl_nats": learned.metrics.kl_nats,
        }
        | {
            f"selected_pass_rate.{rule}": rate
            for rule, rate in selection.metrics.selected_pass_rate.items()
        }
    )
    run.tag(
        instrument=learned.instrument.digest,
        model=learned.model.started_from or config.model,
        registered=learned.model.name,
    )
    run.describe(describe_demo(config, rows, learned.model.name))
    result = DemoResult(
        run_id=run.run_id,
        demo=tuple(rows),
        runs=runs,
        model=learned.model,
        instrument=learned.instrument,
        config=config,
    )
    run.record(RESULT_FILE, result)


def describe_demo(config: LearningConfig, rows: Sequence[DemoRow], made: str) -> str:
    """Markdown: before and after for each loop, in one table."""
    columns = [*DEMO_COLUMNS[:NUMBERS_FROM], *(f">{name}" for name in DEMO_COLUMNS[NUMBERS_FROM:])]
    cells = [[_plain(cell) for cell in demo_cells(row)] for row in rows]
    start, end = (percent(rows[place].pass_at_1) for place in (0, -1))
    return "\n".join(
        [
            f"### pass@1 {start} at the start, {end} after learning",
            "",
            f"The three loops one after another on the same {rows[0].problems} problems of "
            f"{code(config.dataset)} {config.split}, model {code(config.model)}, scorer "
            f"{code(config.scorer)}; learning made {code(made)}.",
            "",
            *table(columns, cells),
            "",
            *(f"{_plain(note)}  " for note in demo_notes(rows)),
            "Each loop is a child of this run.",
        ]
    )


def _plain(text: str) -> str:
    """The oracle's mark as a character, not as markdown's."""
    return text.replace(ORACLE_MARK, f"\\{ORACLE_MARK}")
