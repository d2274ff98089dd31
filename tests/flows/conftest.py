"""A tiny random model and one Prefect test server for all flow tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.tiny import make_tiny_model
from schemas.config import EvalConfig, LearningConfig, LearningSettings, SamplingSettings
from tasks import resident

TEMPLATE = "few_shot_chat@1"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a tiny random model."""
    return str(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """One temporary Prefect server for the session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(autouse=True)
def _nothing_resident() -> Iterator[None]:
    yield
    resident.forget()


@pytest.fixture
def eval_config(tiny: str) -> EvalConfig:
    """Loop A on six problems with two samples."""
    return EvalConfig(
        model=tiny, limit=6, samples=2, shard_size=4, sampling=SamplingSettings(max_new_tokens=6)
    )


@pytest.fixture(scope="session")
def small_sums(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A dataset whose answers are one digit, so that a tiny model is right now and then."""
    sums = [(a, b) for a in range(1, 9) for b in range(1, 10 - a)]
    splits = ["train"] * 24 + ["dev"] * 6 + ["holdout"] * 6
    rows: list[dict[str, object]] = [
        {"id": f"{a}+{b}", "prompt": f"{a} + {b}?", "expected_answer": a + b, "split": split}
        for (a, b), split in zip(sums, splits, strict=True)
    ]
    return problems_file(tmp_path_factory.mktemp("sums"), *rows)


@pytest.fixture
def learning_config(tiny: str, small_sums: str) -> LearningConfig:
    """Loop C in four small steps, of which most find something to learn."""
    return LearningConfig(
        model=tiny,
        dataset=small_sums,
        limit=4,
        steps=4,
        problems_per_step=4,
        samples=8,
        evaluation_samples=2,
        checkpoint_every=2,
        dev_every=2,
        sampling=SamplingSettings(max_new_tokens=6),
        learning=LearningSettings(learning_rate=1e-3, kl_weight=0.1),
    )


def problems_file(folder: Path, *rows: dict[str, object]) -> str:
    """A JSONL dataset."""
    import json

    path = folder / "problems.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)
