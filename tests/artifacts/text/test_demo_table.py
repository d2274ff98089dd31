"""The demo's table: the same cells in a terminal and in markdown."""

from __future__ import annotations

from artifacts.text.demo_table import DEMO_COLUMNS, demo_cells, demo_notes
from schemas.measurements import ConstantAnswer
from schemas.result_parts import DemoRow

START = DemoRow(
    loop="A",
    changed="nothing",
    what="the start, measured",
    problems=240,
    pass_at_1=0.314,
    pass_at_1_interval=(0.28, 0.35),
    pass_at_4=0.62,
    pass_at_4_interval=(0.5, 0.7),
    valid_format_rate=1.0,
    kl_nats=-0.001,
)
ORACLE = DemoRow(
    loop="B",
    changed="the output",
    what="best of 8 by oracle*",
    pass_at_1=0.8,
    pass_at_1_interval=(0.7, 0.9),
    pass_at_4=None,
    pass_at_4_interval=None,
    valid_format_rate=None,
    kl_nats=None,
)


def test_a_row_has_a_cell_for_each_column() -> None:
    cells = dict(zip(DEMO_COLUMNS, demo_cells(START), strict=True))
    assert cells == {
        "loop": "A",
        "what": "the start, measured",
        "changed": "nothing",
        "pass@1, %": "31 [28, 35]",
        "pass@4, %": "62 [50, 70]",
        "KL, nats": "0.00",
    }


def test_what_a_loop_does_not_have_is_empty() -> None:
    assert demo_cells(ORACLE)[2:] == ("the output", "80 [70, 90]", "", "")


def test_the_notes_tell_the_number_of_problems_and_the_mark() -> None:
    counted, mark = demo_notes([START, ORACLE])
    assert counted.startswith("n = 240 problems")
    assert mark == "* knows the expected answer: what a perfect scorer could pick"


def test_a_rate_that_is_not_1_is_not_shown_as_100() -> None:
    almost = START.model_copy(update={"pass_at_1": 957 / 960, "pass_at_1_interval": (0.99, 1.0)})
    assert demo_cells(almost)[3] == ">99 [99, 100]"


def test_the_best_constant_answer_is_told_once() -> None:
    best = ConstantAnswer(answer="12", rate=0.025, correct=6, problems=240)
    notes = demo_notes([START.model_copy(update={"best_constant": best}), ORACLE])
    assert notes[1] == "the best constant answer 12 is right for 6/240 = 2.5 %"
    assert len(notes) == 3
