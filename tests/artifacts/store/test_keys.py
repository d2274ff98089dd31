"""A key names everything that decides a result, and is the same for the same question."""

from __future__ import annotations

import pytest

from artifacts.store.keys import code_versions, task_key
from artifacts.store.tables import Store
from schemas.identity import digest_of
from schemas.references import TableKind
from tests.artifacts.measuring import problems_table

SCORES: tuple[TableKind, str] = ("scores", "score")


def test_each_part_of_a_question_gives_another_key() -> None:
    keys = [
        task_key(*SCORES, parents={"completions": "a"}, config={"scorer": "x"}),
        task_key(*SCORES, parents={"completions": "b"}, config={"scorer": "x"}),
        task_key(*SCORES, parents={"completions": "a"}, config={"scorer": "y"}),
        task_key("scores", "other", parents={"completions": "a"}, config={"scorer": "x"}),
    ]
    assert len({key.digest for key in keys}) == len({key.asked.digest for key in keys}) == 4
    again = task_key(*SCORES, config={"scorer": "x"}, parents={"completions": "a"})
    assert again.digest == keys[0].digest


def test_a_name_cannot_stand_for_a_parent_and_a_setting() -> None:
    with pytest.raises(AssertionError, match="two things"):
        task_key(*SCORES, parents={"problems": "a"}, config={"problems": "b"})


def test_a_key_of_a_former_version_still_leads_to_its_table(store: Store) -> None:
    asked = {"problems": "p", "step": 3, "count": 2, "seed": 0}
    former = {"task": "draw-problems", "inputs": asked, "versions": code_versions()}
    table = store.write(
        "problems",
        problems_table(2),
        producer="draw-problems",
        parents={"problems": "p"},
        config={"step": 3, "count": 2, "seed": 0},
    )
    keys = store.root / "keys"
    keys.mkdir()
    (keys / f"{digest_of(former)}.json").write_text(table.model_dump_json())
    key = task_key(
        "problems",
        "draw-problems",
        parents={"problems": "p"},
        config={"step": 3, "count": 2, "seed": 0},
    )
    assert store.find(key) == table


def test_a_table_whose_provenance_says_less_than_was_asked_is_not_believed(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    key = task_key("problems", "t", config={"seed": 1, "numerics": "cpu float32 AVX2 1 thread"})
    former = store.write("problems", problems_table(2), producer="t", config={"seed": 1})
    keys = store.root / "keys"
    keys.mkdir()
    (keys / f"{key.digest}.json").write_text(former.model_dump_json())
    assert store.find(key) is None
    (record,) = caplog.records
    assert f"key {key.digest[:12]}: its table {former.digest[:12]}" in record.getMessage()
    assert key.asked.digest[:12] in record.getMessage()
