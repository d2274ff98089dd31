"""A learning run of the tiny model whose measurements are given, and the gate asked about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from artifacts.registry.resolve import resolve_policy
from artifacts.registry.versions import champion_of
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.learning import learning_flow
from policy.model.template import get_template
from schemas.config import EvalConfig, LearningConfig
from schemas.identity import canonical_json
from schemas.measurements import Estimate, Measurement
from schemas.references import PolicyRef
from tasks.aggregate import aggregate
from tasks.load_dataset import load_dataset
from tasks.runtime.runtime import Runtime, process_runtime
from tasks.score import score
from tests.data_folder import stored

Learn = Callable[..., dict[str, Any]]
Run = Callable[..., dict[str, Any]]
COUNT = 40
VERSION = "models:/threeloops/1"


def answered(config: EvalConfig, policy: PolicyRef, rate: float) -> Measurement:
    """A measurement in which the first `rate` of the problems is answered right."""
    store, problems = (
        stored(),
        load_dataset(config.dataset, config.split, config.limit),
    )
    table = store.read(problems)
    right = rate * table.num_rows
    expected = [int(value) for value in table["expected_answer"].to_pylist()]
    rows = {
        "problem_id": table["problem_id"],
        "sample_index": pa.array([0] * len(expected), pa.int32()),
        "text": pa.array([f"Final: {v + (i >= right)}" for i, v in enumerate(expected)]),
        "finish_reason": pa.array(["stop"] * len(expected)),
        "token_count": pa.array([3] * len(expected), pa.int32()),
        "sum_logprob": pa.array([-1.0] * len(expected)),
        "shard_seed": pa.array([config.seed] * len(expected), pa.int64()),
        "token_ids": pa.array([[1, 2, 3]] * len(expected), pa.list_(pa.int32())),
        "logprobs": pa.array([[-0.5, -0.25, -0.25]] * len(expected), pa.list_(pa.float32())),
    }
    template = get_template(config.template)
    completions = store.write(
        "completions",
        pa.table(rows),
        producer="generate",
        parents={"problems": problems.digest},
        config={
            "policy": policy.digest,
            "template": f"{template.id}:{template.digest}",
            "sampling": canonical_json(config.sampling.model_dump()),
            "seed": config.seed,
        },
    )
    return aggregate(problems, completions, score(problems, completions, config.scorer), policy)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pass rates that the next measurements will find, in their order.

    With none left, a policy has the rate that it had last.
    """
    coming: list[float] = []
    known: dict[str, float] = {}

    def measured(
        runtime: Runtime, config: EvalConfig, policy: PolicyRef | None = None
    ) -> Measurement:
        policy = policy or resolve_policy(runtime.archive, config.model)
        if coming:
            known[policy.digest] = coming.pop(0)
        return answered(config, policy, known[policy.digest])

    def far(*_: object) -> Estimate:
        return Estimate(value=0.5, low=0.4, high=0.6, problems=COUNT, completions=COUNT)

    monkeypatch.setattr("flows.learning.measure", measured)
    monkeypatch.setattr("flows.eval.measure", measured)
    monkeypatch.setattr("flows.learning.divergence", far)
    return coming


@pytest.fixture
def learn(learning_config: LearningConfig, rates: list[float]) -> Learn:
    """Train two steps from the tiny model, or another; it measures these rates."""

    def call(before: float, after: float, **more: Any) -> dict[str, Any]:
        rates[:] = [before, after]
        settings = learning_config.learning.model_copy(update={"weight_decay": 0.5})
        small = {"limit": COUNT, "steps": 2, "learning": settings, "dataset": "arithmetic"}
        small |= {"problems_per_step": 2, "samples": 2, "dev_every": 0}
        return learning_flow.fn(learning_config.model_copy(update=small | more)).as_json()

    return call


@pytest.fixture
def promote(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Ask the gate for a decision, with --json; what it measures again needs no server."""
    monkeypatch.setattr("flows.cli.verbs.past_runs.configure_prefect", lambda data_dir: None)
    monkeypatch.setattr("flows.cli.verbs.past_runs.start_prefect", lambda *_: None)
    monkeypatch.setattr(
        "flows.cli.verbs.past_runs.run_flow",
        lambda runtime, flow, config, _, **more: flow.fn(config),
    )

    def call(*arguments: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["promote", *arguments, "--json"]) == code
        return dict(json.loads(capsys.readouterr().out))

    return call


@pytest.fixture
def measure_again(rates: list[float], learning_config: LearningConfig) -> Callable[..., None]:
    """Evaluate the version with this seed; it finds this rate."""

    def call(rate: float, seed: int, model: str = VERSION) -> None:
        rates[:] = [rate]
        changes = {"model": model, "limit": COUNT, "dataset": "arithmetic", "seed": seed}
        eval_flow.fn(learning_config.evaluation().model_copy(update=changes))

    return call


def champion() -> str | None:
    found = champion_of(process_runtime().archive, "threeloops")
    return found.name if found else None
