"""Events reach every listener, and progress carries the notes on its work."""

from __future__ import annotations

from tasks.runtime.progress import Event, Message, Progress, ProgressHub


def test_every_listener_hears_every_event_while_it_listens() -> None:
    hub, first, second = ProgressHub(), list[Event](), list[Event]()
    hub.log_message("nobody listens")
    with hub.listening(first.append):
        hub.log_message("one")
        with hub.listening(second.append):
            hub.report(Progress("work", 1, 2, "steps"))
    assert first == [Message("one"), Progress("work", 1, 2, "steps")]
    assert second == [Progress("work", 1, 2, "steps")]


def test_a_listener_that_raises_is_removed_with_its_block() -> None:
    hub, heard = ProgressHub(), list[Event]()
    try:
        with hub.listening(heard.append):
            raise ValueError
    except ValueError:
        hub.log_message("later")
    assert heard == []


def test_notes_stand_beside_later_progress_of_their_work_until_it_is_forgotten() -> None:
    hub, heard = ProgressHub(), list[Event]()
    hub.note("work", "pass rate so far", "50 %")
    with hub.listening(heard.append):
        hub.report(Progress("other", 1, 2, "steps"))
        hub.report(Progress("work", 1, 2, "steps", notes={"KL": "0.1"}))
        hub.report(Progress("work", 2, 2, "steps"))
        hub.forget("work")
        hub.report(Progress("work", 1, 2, "steps"))
    notes = [event.notes for event in heard if isinstance(event, Progress)]
    told = {"pass rate so far": "50 %"}
    assert notes == [{}, {"KL": "0.1"} | told, told, {}]
