"""The runtime of one test, the tiny model's reference, and problems that it can sometimes solve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from artifacts.tracking.archive import Archive
from schemas.config import GenerationSettings, LearningConfig, LearningSettings, SamplingSettings
from schemas.measurements import Measurement
from schemas.references import PolicyRef, TableRef
from tasks.aggregate import aggregate
from tasks.generate import generate
from tasks.runtime.runtime import Runtime, process_runtime
from tasks.score import score


@pytest.fixture
def runtime(archive: Archive) -> Iterator[Runtime]:
    """What the tasks of this test work with; its MLflow database is ready."""
    made = process_runtime()
    yield made
    made.models.forget()


@pytest.fixture
def policy(runtime: Runtime, tiny: str) -> PolicyRef:
    return PolicyRef(name="tiny", digest=runtime.archive.folders.digest(Path(tiny)))


@pytest.fixture
def problems(runtime: Runtime) -> TableRef:
    """Three sums with answers of one digit."""
    sums = [(1, 2), (2, 2), (4, 3)]
    table = pa.table(
        {
            "problem_id": [f"{a}+{b}" for a, b in sums],
            "prompt": [f"{a} + {b}?" for a, b in sums],
            "expected_answer": [str(a + b) for a, b in sums],
            "family": pa.array(["sums"] * 3, pa.string()),
            "split": ["train"] * 3,
        }
    )
    return runtime.store.write("problems", table, producer="test")


@pytest.fixture
def settings() -> GenerationSettings:
    """Four samples of each problem, two problems in a shard."""
    return GenerationSettings(
        template="few_shot_chat@1",
        sampling=SamplingSettings(max_new_tokens=6),
        samples=4,
        seed=0,
        shard_size=2,
        device="cpu",
    )


@pytest.fixture
def config(tiny: str, settings: GenerationSettings) -> LearningConfig:
    """Two steps of learning from completions as in `settings`."""
    return LearningConfig(
        model=tiny,
        steps=2,
        problems_per_step=3,
        samples=settings.samples,
        sampling=settings.sampling,
        device="cpu",
        logprob_after=True,
        learning=LearningSettings(learning_rate=1e-3, kl_weight=0.1),
    )


@pytest.fixture
def measured(problems: TableRef, policy: PolicyRef, settings: GenerationSettings) -> Measurement:
    """The tiny model's completions of the problems, scored."""
    completions = generate(problems, policy, settings)
    return aggregate(problems, completions, score(problems, completions, "final_int@1"), policy)
