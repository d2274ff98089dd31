"""A terminal of 80 columns whose text can be read."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from schemas.instrument import Instrument
from schemas.measurements import Estimate
from schemas.result_parts import (
    ComparedRun,
    Flipped,
    FlippedAnswer,
    FlippedProblem,
    InstrumentRecord,
    PairedDifference,
)
from schemas.results import RatedComparison

WIDTH = 80
Shown = Callable[..., str]


@pytest.fixture
def shown() -> Shown:
    """What a person reads: a function from a printing function and its arguments to the text.

    Unless `wide` is set, no line is longer than the terminal, and none was cut.
    """

    def text(show: Callable[..., None], *given: object, wide: bool = False) -> str:
        out = io.StringIO()
        show(Console(file=out, width=WIDTH, highlight=False, emoji=False), *given)
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
        assert wide or max(map(len, lines)) <= WIDTH, max(lines, key=len)
        return "\n".join(lines)

    return text


@pytest.fixture
def comparison() -> RatedComparison:
    """Run B against run A on one instrument: one problem got better."""
    instrument = Instrument(
        dataset="a" * 64, split="holdout", prompt_template="t", scorer="final_int@1:f", sampling="s"
    )
    change = PairedDifference(
        value=0.1, low=-0.02, high=0.3, problems=40, better=5, worse=1, detectable=0.2
    )
    flip = FlippedProblem(
        problem_id="p",
        prompt="[bold]1 + 2?",
        expected_answer="3",
        before=(0, 4),
        after=(3, 4),
        answer_before=FlippedAnswer(text="\x1b[31m4", code="other_text"),
        answer_after=FlippedAnswer(text="Final: 3", code="exact"),
    )
    first, second = (
        Estimate(value=value, low=0.1, high=0.9, problems=40, completions=160)
        for value in (0.2, 0.3)
    )
    return RatedComparison(
        comparable=True,
        same_instrument=True,
        differs={},
        refused_parts=(),
        allowed=(),
        instrument=InstrumentRecord(digest="e" * 64, parts=instrument),
        runs=(run("eval-1"), run("learn-2", loop="C", changed="the model", kl_nats=0.5, steps=1)),
        reading=("learn-2 (loop C) made B's model from A's: a difference is by learning.",),
        pass_rates=(first, second),
        difference=change,
        test="student_paired",
        p_value=0.03125,
        families={"<u>sums</u>": change},
        flipped=Flipped(better=(flip,), worse=()),
        left_out=(0, 0),
    )


def run(name: str, **given: object) -> ComparedRun:
    """One side of a comparison."""
    common: dict[str, object] = {
        "run_id": "0123456789abcdef",
        "loop": "A",
        "loop_name": "evaluation",
        "changed": "nothing",
        "stage": None,
        "rule": None,
        "model": "default",
        "model_digest": "d" * 64,
        "problems": 40,
        "samples": 4,
        "instrument": "e" * 64,
        "tables": {},
    }
    return ComparedRun.model_validate(common | {"name": name} | given)
