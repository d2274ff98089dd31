"""What the coverage floor says of each room."""

from __future__ import annotations

from scripts.coverage_floor import FLOORS, File, verdicts

WHOLE = [File(f"{room}/a.py", 100, 0) for room in FLOORS]


def test_rooms_at_their_floor_pass() -> None:
    at_floor = [File(f"{room}/a.py", 100, 100 - floor) for room, floor in FLOORS.items()]
    lines, reached = verdicts(at_floor)
    assert reached
    assert len(lines) == len(FLOORS)


def test_a_room_below_its_floor_fails_and_names_where() -> None:
    short = [File("tasks/b.py", 10, 9), File("tasks/c.py", 100, 4)]
    lines, reached = verdicts([*WHOLE, *short])
    assert reached, "13 of 210 lines"
    lines, reached = verdicts([*WHOLE, *short, File("tasks/d.py", 100, 20)])
    assert not reached
    (line,) = [line for line in lines if "too low" in line]
    assert line.startswith("tasks       89.35 % of 310 lines, floor 90 %: too low")
    assert line.endswith("tasks/d.py 20, tasks/b.py 9, tasks/c.py 4")


def test_a_room_that_was_not_measured_fails() -> None:
    lines, reached = verdicts(WHOLE[1:])
    assert not reached
    assert lines[0].endswith("no file: none was measured")
