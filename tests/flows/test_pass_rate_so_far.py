"""What is shown beside the progress of sampling."""

from __future__ import annotations

import pyarrow as pa

from flows.pass_rate_so_far import PassRateSoFar
from schemas.completions import COMPLETIONS
from schemas.references import TableRef
from tasks.runtime.progress import Event, Progress, ShardStored
from tasks.runtime.runtime import process_runtime
from tests.data_folder import stored

WORK = "holdout: tiny"


def problems() -> TableRef:
    """Two problems with the answers 4 and 5."""
    text = {"prompt": ["2 + 2?", "2 + 3?"], "split": ["holdout"] * 2}
    table = pa.table(
        {
            "problem_id": ["a", "b"],
            "prompt": text["prompt"],
            "expected_answer": ["4", "5"],
            "family": pa.nulls(2, pa.string()),
            "split": text["split"],
        }
    )
    return stored().write("problems", table, producer="test")


def shard(*rows: tuple[str, str]) -> ShardStored:
    """Completions of problems, each ended by the model."""
    ids, texts = zip(*rows, strict=True)
    given = {
        "problem_id": list(ids),
        "sample_index": pa.array(range(len(ids)), pa.int32()),
        "text": list(texts),
        "finish_reason": ["stop"] * len(ids),
    }
    empty = {
        name: pa.nulls(len(ids), column.type)
        for name, column in COMPLETIONS.columns.items()
        if column.nullable
    }
    completions = stored().write("completions", pa.table(given | empty), producer="test")
    return ShardStored(WORK, problems(), completions)


def notes_after(scorer: str, *shards: ShardStored) -> dict[str, str]:
    """The notes of the next progress, after these shards were stored."""
    hub, heard = process_runtime().progress, list[Event]()
    with hub.listening(PassRateSoFar(process_runtime(), scorer)), hub.listening(heard.append):
        for one in shards:
            hub.report(one)
        hub.report(Progress(WORK, 1, 1, "completions"))
    (progress,) = (event for event in heard if isinstance(event, Progress))
    return progress.notes


def test_the_pass_rate_so_far_is_of_all_shards_that_are_done() -> None:
    first = shard(("a", "Final: 4"), ("a", "Final: 5"))
    assert notes_after("final_int@1") == {}
    assert notes_after("final_int@1", first) == {"pass rate so far": "50 % (n = 2)"}
    second = shard(("b", "Final: 5"), ("b", "Final: 5"))
    assert notes_after("final_int@1", first, second) == {"pass rate so far": "75 % (n = 4)"}


def test_the_scorer_of_a_user_is_not_run_twice() -> None:
    assert notes_after("mymodule:scorer", shard(("a", "Final: 4"))) == {}
