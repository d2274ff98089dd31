"""Turns: one process at a time goes on with a run, whichever device it has."""

from __future__ import annotations

import threading

from artifacts.store.data_dir import DataDir
from flows.orchestration.turns import turn_of_run


def test_who_would_go_on_with_a_run_waits_for_the_one_that_has_it_and_no_other_does(
    data_dir: DataDir,
) -> None:
    said: list[str] = []
    waits, entered = threading.Event(), threading.Event()

    def say(line: str) -> None:
        said.append(line)
        waits.set()

    def second() -> None:
        with turn_of_run(data_dir, "a-run", say, None):
            entered.set()

    with turn_of_run(data_dir, "a-run", print, None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
        with turn_of_run(data_dir, "another-run", said.append, None):
            assert not entered.is_set()
    assert entered.wait(60)
    thread.join()
    (line,) = said
    assert line.startswith("waiting for the learner that has this run (process ")
