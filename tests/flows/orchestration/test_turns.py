"""Turns: one process at a time goes on with a run, whichever device it has."""

from __future__ import annotations

import threading

import pytest
from obstore.store import MemoryStore

from artifacts.store.data_dir import DataDir
from artifacts.store.shared.bucket import BucketObjects
from artifacts.store.shared.lease import Written, lease_name
from flows.orchestration.turns import turn_of_run
from schemas.errors import InputError


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


def test_who_has_lost_a_run_to_another_machine_is_told_to_go_on_with_it(data_dir: DataDir) -> None:
    store = BucketObjects("s3://tests/memory", MemoryStore())
    taken = Written(holder="another machine", nonce="other").model_dump_json().encode()
    with turn_of_run(data_dir, "a-run", print, store) as turn:
        store.put(lease_name("run-a-run"), taken)
        with pytest.raises(InputError, match="step 3 was not recorded") as caught:
            turn.refuse_lost("step 3")
    assert caught.value.remedy == "go on with it: threeloops learn --resume a-run"
