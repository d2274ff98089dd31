"""The pass rate of the shards that are done, shown beside the progress of sampling."""

from __future__ import annotations

import pyarrow.compute as pc

from artifacts.text.numbers import percent
from schemas.errors import StoreError
from schemas.problems import expected_answers
from scorers.registry import BUILT_IN
from tasks.runtime.progress import Event, ShardStored
from tasks.runtime.runtime import Runtime


class PassRateSoFar:
    """A listener that scores each stored shard, if the scorer is a built-in one.

    What it finds is shown and kept nowhere.
    """

    def __init__(self, runtime: Runtime, scorer: str) -> None:
        self._runtime = runtime
        self._scorer = next((one for one in BUILT_IN if one.id == scorer), None)
        self._correct = self._scored = 0

    def __call__(self, event: Event) -> None:
        """Score a shard and note the rate so far."""
        if not isinstance(event, ShardStored) or self._scorer is None:
            return
        store = self._runtime.store
        try:
            shard, problems = store.read(event.completions), store.read(event.problems)
        except StoreError:  # another process has just dropped it; a note must not end a run
            return
        expected = expected_answers(problems, shard["problem_id"])
        verdicts = self._scorer.score(shard["text"], shard["finish_reason"], expected)
        self._correct += pc.sum(pc.equal(verdicts["reward"], 1.0)).as_py()
        self._scored += shard.num_rows
        rate = f"{percent(self._correct / self._scored)} (n = {self._scored})"
        self._runtime.progress.note(event.work, "pass rate so far", rate)
