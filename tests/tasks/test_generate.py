"""What is told while completions are drawn, and when stored ones are taken instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from artifacts.datasets.arithmetic import arithmetic
from artifacts.store.data_dir import DataDir
from artifacts.store.tables import Store
from policy.model.load import fingerprint, numerics
from policy.model.tiny import make_tiny_model
from policy.sampling.sample import sample
from schemas.config import SamplingSettings
from schemas.references import PolicyRef
from tasks import generate as module
from tasks.generate import PassRateSoFar, generate
from tasks.runtime import model_cache as resident

PROBLEMS = pa.table({"problem_id": ["a", "b"], "expected_answer": ["4", "5"]})


def shard(*rows: tuple[str, str]) -> pa.Table:
    """Completions of problems, each ended by the model."""
    ids, texts = zip(*rows, strict=True)
    return pa.table({"problem_id": ids, "text": texts, "finish_reason": ["stop"] * len(rows)})


def test_the_pass_rate_so_far_is_of_all_shards_that_are_done() -> None:
    so_far = PassRateSoFar("final_int@1")
    assert so_far.notes() == {}
    so_far.add(PROBLEMS, shard(("a", "Final: 4"), ("a", "Final: 5")))
    assert so_far.notes() == {"pass rate so far": "50 %"}
    so_far.add(PROBLEMS, shard(("b", "Final: 5"), ("b", "Final: 5")))
    assert so_far.notes() == {"pass rate so far": "75 %"}


def test_a_scorer_of_someone_else_is_not_asked_twice() -> None:
    so_far = PassRateSoFar("mymodule:scorer")
    so_far.add(PROBLEMS, shard(("a", "Final: 4")))
    assert so_far.notes() == {}


def test_what_another_arithmetic_drew_is_not_taken_for_this_ones(
    data_dir: DataDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_tiny_model(tmp_path / "model")
    policy = PolicyRef(name="tiny", folder=str(folder), digest=fingerprint(folder))
    problems = Store().write("problems", arithmetic("holdout").slice(0, 2), producer="test")
    drawn = []

    def counted(*arguments: Any, **named: Any) -> Any:
        drawn.append(1)
        return sample(*arguments, **named)

    monkeypatch.setattr(module, "sample", counted)

    def ask() -> None:
        generate.fn(
            problems,
            policy,
            template="few_shot_chat@1",
            sampling=SamplingSettings(max_new_tokens=2),
            samples=1,
            seed=0,
            shard_size=2,
            device="cpu",
        )

    assert numerics("cpu") == "cpu float32"
    ask()
    ask()
    assert len(drawn) == 1
    monkeypatch.setattr(module, "numerics", lambda device: "cuda bfloat16")
    ask()
    assert len(drawn) == 2
    resident.forget()
