"""How long work will go on: from the median of its last parts, with a clock of the test's own."""

from __future__ import annotations

import pytest

from schemas.references import TableRef
from tasks.runtime.progress import Event, Progress, ProgressHub, ShardStored
from tasks.runtime.time_left import TimeLeft, in_words

TABLE = TableRef(kind="completions", digest="d", rows=1)


class Clock:
    """Seconds that pass when a test says so."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_within_the_first_part_a_unit_takes_as_long_as_each_so_far() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    assert left.seconds("work", 0, 100) is None, "nothing is known yet"
    clock.seconds += 5
    assert left.seconds("work", 0, 100) is None
    left.seconds("long", 0, 1920)
    clock.seconds += 35
    assert left.seconds("long", 1, 1920) is None, "35 s for one are those of the start"
    assert left.seconds("long", 20, 1920) == pytest.approx(1900 * 35 / 20)
    clock.seconds -= 35
    assert left.seconds("work", 10, 100) == 45.0
    assert left.seconds("other", 50, 100) is None, "each work for itself"
    assert left.seconds("work", 100, 100) is None, "it is done"
    assert left.seconds("work", 1, 100) is None, "another work of the same name"


def test_then_it_takes_the_median_of_the_last_ten_parts() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    left.seconds("work", 0, 1000)
    for part, length in enumerate([900.0, 10.0, 12.0, 300.0, 11.0], start=1):
        clock.seconds += length
        left.seconds("work", 10 * part, 1000)
        left.part_ends("work")
    assert left.seconds("work", 50, 1000) == pytest.approx(950 * 1.2)
    for part in range(6, 16):
        clock.seconds += 5.0
        left.seconds("work", 10 * part, 1000)
        left.part_ends("work")
    assert left.seconds("work", 150, 1000) == pytest.approx(850 * 0.5), "what was before is over"


def test_parts_that_were_found_finished_say_nothing_about_the_others() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    left.part_ends("work")
    left.seconds("work", 40, 100)
    left.part_ends("work")
    assert left.seconds("work", 40, 100) is None
    clock.seconds += 6
    assert left.seconds("work", 60, 100) == pytest.approx(12.0)


def test_progress_gets_the_time_that_is_left_unless_who_reports_knows_better() -> None:
    clock = Clock()
    hub, heard = ProgressHub(TimeLeft(clock)), list[Event]()
    with hub.listening(heard.append):
        hub.report(Progress("holdout", 0, 960, "completions"))
        clock.seconds += 60
        hub.report(Progress("holdout", 240, 960, "completions"))
        hub.report(ShardStored("holdout", TABLE, TABLE))
        clock.seconds += 30
        hub.report(Progress("holdout", 480, 960, "completions", notes={"pass rate so far": "6 %"}))
        hub.report(Progress("learning", 14, 50, "steps", seconds_left=125.0))
        hub.report(Progress("step 3", 1, 2, "completions", part=True))
    words = [event.words for event in heard if isinstance(event, Progress)]
    assert words == [
        "holdout: 0 of 960 completions",
        "holdout: 240 of 960 completions, about 3 min left",
        "holdout: 480 of 960 completions, pass rate so far 6 %, about 2 min left",
        "learning: 14 of 50 steps, about 2 min left",
        "step 3: 1 of 2 completions",
    ]


def test_work_that_has_ended_some_way_leaves_nothing() -> None:
    clock = Clock()
    hub, heard = ProgressHub(TimeLeft(clock)), list[Event]()
    with hub.listening(heard.append):
        hub.report(Progress("holdout", 0, 10, "completions"))
        hub.forget("holdout")
        clock.seconds += 3600
        hub.report(Progress("holdout", 1, 10, "completions"))
    (_, last) = heard
    assert isinstance(last, Progress)
    assert last.seconds_left is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than 10 s left"),
        (9.9, "less than 10 s left"),
        (12, "about 10 s left"),
        (88, "about 90 s left"),
        (91, "about 2 min left"),
        (150 * 60, "about 2.5 h left"),
    ],
)
def test_a_time_is_said_as_exactly_as_it_is_known(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
