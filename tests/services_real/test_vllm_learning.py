"""Loop C with a real vLLM as its sampler: it gets each step's adapter of the default model."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engines.openai_server import adapters, asking, servers
from flows.learning import learning_flow
from policy.learning.guard import ServedSamplesError
from policy.model.embedded import prepare_default
from schemas.config import LearningConfig, LearningSettings
from schemas.errors import InputError
from schemas.results import LearningResult
from schemas.server import ServerSettings, StepSampling
from tasks.runtime.runtime import process_runtime
from tests.vllm_server import NAME, NOT_THERE, PYTHON, vllm

pytest.importorskip("openai", reason="install threeloops[server]")
pytestmark = [pytest.mark.engines, pytest.mark.timeout(2700)]

NATS = 1e-3  # a token, between its log-probabilities and the learner's
RANK = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model's folder."""
    if not PYTHON.is_file():
        pytest.skip(NOT_THERE)
    return prepare_default(tmp_path_factory.mktemp("models"), on_progress=lambda _: None)


@pytest.fixture(scope="module")
def port(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where it answers, while it serves the default model and loads adapters."""
    log = tmp_path_factory.mktemp("vllm") / "log"
    words = ["--enable-lora", "--max-lora-rank", str(RANK), "--max-loras", "2"]
    allowed = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    with vllm(folder, log, "processed_logprobs", *words, **allowed) as found:
        yield found


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.05)
    yield
    process_runtime().models.forget()


def config(port: int, folder: Path, rank: int = RANK, **given: Any) -> LearningConfig:
    """Three steps, each of which moves the policy well."""
    learning = LearningSettings(
        adapter="lora", lora_rank=rank, learning_rate=1e-3, schedule="constant"
    )
    return LearningConfig(
        model=str(folder),
        limit=4,
        steps=3,
        problems_per_step=4,
        samples=4,
        evaluation_samples=1,
        dev_every=0,
        learning=learning,
        server=ServerSettings(base_url=f"http://127.0.0.1:{port}/v1"),
        sampler=StepSampling.model_validate(given),
    )


def steps(result: LearningResult) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(result.tables["training"]).to_pylist()
    for row in rows:
        print({name: row[name] for name in ("step", "sampling_gap_nats", "off_policy_steps")})
    return rows


def served(port: int) -> list[str]:
    """The names that the server answers to."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=60) as answer:
        return [one["id"] for one in json.load(answer)["data"]]


def test_each_step_is_sampled_from_the_adapter_as_it_is_then(port: int, folder: Path) -> None:
    rows = steps(learning_flow.fn(config(port, folder)))
    assert len(rows) == 3
    assert max(row["sampling_gap_nats"] for row in rows) < NATS
    assert served(port) == [NAME], "it has forgotten the adapters"


def test_a_server_that_goes_on_with_an_old_adapter_is_refused(
    port: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "first"

    def load(server: ServerSettings, name: str, made: Path) -> None:
        if not first.exists():
            shutil.copytree(made, first)
        adapters.load_adapter(server, name, first)

    monkeypatch.setattr(servers, "load_adapter", load)
    with pytest.raises(ServedSamplesError, match="not sampled from the policy") as caught:
        learning_flow.fn(config(port, folder))
    assert (caught.value.step, caught.value.last_good) == (3, 2)
    print(caught.value)


def test_off_policy_it_samples_a_step_ahead(port: int, folder: Path) -> None:
    rows = steps(learning_flow.fn(config(port, folder, max_off_policy_steps=1)))
    assert [row["off_policy_steps"] for row in rows] == [0, 1, 1]
    assert max(row["sampling_gap_nats"] for row in rows) < NATS


def test_a_rank_that_is_too_large_for_it_is_said_in_one_line(port: int, folder: Path) -> None:
    with pytest.raises(InputError, match="does not load the adapter") as refused:
        learning_flow.fn(config(port, folder, rank=2 * RANK))
    assert "\n" not in str(refused.value)
    print(refused.value)
