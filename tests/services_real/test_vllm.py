"""Loops A and B by a real vLLM with the default model: every token with its log-probability.

vLLM lives in an environment of its own, which `make vllm` makes.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from engines.openai_server import asking
from flows.eval import eval_flow
from flows.selection import selection_flow
from policy.model.embedded import prepare_default
from policy.model.load import fingerprint, load_policy
from policy.model.template import get_template
from policy.sampling.categorical import _cut
from schemas.config import EvalConfig, SamplingSettings, SelectionConfig
from schemas.errors import InputError
from schemas.server import ServerSettings
from tasks.runtime.runtime import process_runtime
from tests.mlflow_server import BUSY, LOSE_ANSWER, PASS, REFUSE, between
from tests.vllm_server import NAME, NOT_THERE, PATIENCE, PYTHON, ROOT, vllm

pytest.importorskip("openai", reason="install threeloops[server]")
pytestmark = [pytest.mark.engines, pytest.mark.timeout(2700)]

NATS = 1e-3  # a token, between its log-probabilities and ours
AGAIN = 1e-4  # a token, between two times that the same was asked of it
KEY = "sk-of-these-tests"  # without which it answers nobody


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model's folder."""
    if not PYTHON.is_file():
        pytest.skip(NOT_THERE)
    return prepare_default(tmp_path_factory.mktemp("models"), on_progress=lambda _: None)


@pytest.fixture(scope="module")
def port(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where it answers, while it serves the default model."""
    log = tmp_path_factory.mktemp("vllm") / "log"
    with vllm(folder, log, "processed_logprobs", VLLM_API_KEY=KEY) as found:
        yield found


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.05)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    yield
    process_runtime().models.forget()


def asked(port: int, folder: Path, *, at: str = "", **given: object) -> dict[str, object]:
    """A measurement of twelve problems."""
    url = at or f"http://127.0.0.1:{port}"
    server = ServerSettings(base_url=f"{url}/v1", tokenizer=str(folder))
    return {"model": NAME, "limit": 12, "samples": 4, "shard_size": 6, "server": server} | given


def one_by_one(port: int, folder: Path) -> dict[str, object]:
    """A measurement whose samples are asked for one after another, so none is batched."""
    config = asked(port, folder, limit=4)
    config["server"] = ServerSettings(
        base_url=f"http://127.0.0.1:{port}/v1",
        tokenizer=str(folder),
        num_concurrent=1,
        samples_per_request=1,
    )
    return config


def rows(config: dict[str, object]) -> pa.Table:
    result = eval_flow.fn(EvalConfig.model_validate(config))
    return pq.read_table(result.tables["completions"])


def running(port: int) -> float:
    """How many requests it computes or keeps waiting at this moment."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        page = answer.read().decode()
    found = re.findall(r"^vllm:num_requests_(?:running|waiting)\{.*\} ([\d.e+]+)$", page, re.M)
    assert len(found) >= 2, page[:2000]
    return sum(map(float, found))


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 0.7}, {"temperature": 1.5, "top_k": 20, "top_p": 0.9}]
)
def test_its_log_probabilities_are_those_of_the_learner(
    sampling: dict[str, float], port: int, folder: Path
) -> None:
    settings = SamplingSettings.model_validate({"max_new_tokens": 12} | sampling)
    result = eval_flow.fn(EvalConfig.model_validate(asked(port, folder, sampling=settings)))
    engine = result.engine
    assert engine is not None
    assert (engine.name, engine.dtype, engine.gives) == ("vllm", "float32", "tokens")
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", engine.version)
    assert engine.model_digest == fingerprint(folder)
    table = pq.read_table(result.tables["completions"])
    assert len(set(table["text"].to_pylist())) > 12, "it draws"
    assert all(table[name].null_count == 0 for name in table.column_names)

    problems = process_runtime().datasets.load("arithmetic", "holdout", 12)
    assert table["problem_id"].to_pylist()[::4] == problems["problem_id"].to_pylist()
    ours = own_logprobs(folder, problems["prompt"].to_pylist(), table, settings)
    gaps = [
        abs(own - theirs)
        for row, told in zip(ours, table["logprobs"].to_pylist(), strict=True)
        for own, theirs in zip(row, told, strict=True)
    ]
    assert len(gaps) > 48
    print(f"{len(gaps)} tokens: mean {sum(gaps) / len(gaps):.1e}, largest {max(gaps):.1e} nats")
    assert max(gaps) < NATS


def own_logprobs(
    folder: Path, questions: list[str], table: pa.Table, settings: SamplingSettings
) -> list[list[float]]:
    """Of the tokens in a table with four rows a question: what the policy here gives them."""
    policy = load_policy(folder, name=NAME, device="cpu")
    prompts = get_template("few_shot_chat@1").encode(questions, policy.tokenizer)
    drawn = table["token_ids"].to_pylist()
    own = []
    for place, tokens in enumerate(drawn):
        prompt = prompts[place // 4]
        with torch.inference_mode():
            logits = policy.model(torch.tensor([[*prompt, *tokens]])).logits[0]
            left = _cut(logits[len(prompt) - 1 : -1], settings).log_softmax(-1)
        own.append(left.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist())
    return own


def test_the_same_again_is_the_same_rows_and_another_seed_is_not(
    port: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which requests it computes together is chance, and moves log-probabilities a little."""

    def elsewhere(config: dict[str, object]) -> pa.Table:
        monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / str(len(list(tmp_path.iterdir())))))
        return rows(config)

    first = elsewhere(asked(port, folder))
    again = elsewhere(asked(port, folder))
    drawn = ["problem_id", "sample_index", "text", "token_ids", "finish_reason"]
    assert again.select(drawn).equals(first.select(drawn))
    gaps = [
        abs(one - other)
        for row, told in zip(
            first["logprobs"].to_pylist(), again["logprobs"].to_pylist(), strict=True
        )
        for one, other in zip(row, told, strict=True)
    ]
    print(f"asked again: {len(gaps)} tokens, largest gap {max(gaps):.1e} nats")
    assert max(gaps) < AGAIN
    assert elsewhere(asked(port, folder, seed=1))["text"] != first["text"]
    alone = elsewhere(one_by_one(port, folder))
    assert elsewhere(one_by_one(port, folder)).equals(alone), "to the last bit"


def test_503s_and_connections_that_are_cut_are_survived(
    port: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows(asked(port, folder))
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    asked_for: list[str] = []
    harmed: list[str] = []

    def decide(path: str) -> str:
        """Every second request for completions comes to harm, each in another way."""
        if not path.endswith("/completions"):
            return PASS
        asked_for.append(path)
        if len(asked_for) % 2 or len(harmed) == 9:
            return PASS
        harmed.append((LOSE_ANSWER, REFUSE, BUSY)[len(harmed) % 3])
        return harmed[-1]

    with between(port) as way:
        way.decide = decide
        survived = rows(asked(port, folder, at=way.uri))
    assert len(harmed) == 9
    assert survived["text"] == whole["text"]


def test_an_interrupt_leaves_no_request_running(port: int, folder: Path, tmp_path: Path) -> None:
    words = ["eval", "--model", NAME, "--base-url", f"http://127.0.0.1:{port}/v1"]
    words += ["--tokenizer", str(folder), "--samples", "16", "--max-new-tokens", "512"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words],
        env=os.environ | {"THREELOOPS_HOME": str(tmp_path / "stopped")},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE
    while running(port) < 8:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    deadline = time.monotonic() + 30
    while running(port) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert running(port) == 0


@pytest.mark.parametrize("key", ["", "sk-of-somebody-else"])
def test_without_its_key_nobody_is_answered(
    port: int, folder: Path, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(InputError, match="the server answers 401: it does not accept") as refused:
        eval_flow.fn(EvalConfig.model_validate(asked(port, folder)))
    assert refused.value.where == "OPENAI_API_KEY"


def test_a_selection_has_the_likelihood_rule(port: int, folder: Path) -> None:
    result = selection_flow.fn(SelectionConfig.model_validate(asked(port, folder)))
    assert "likelihood" in result.selected


def test_another_model_and_a_context_that_is_too_short_are_refused(port: int, folder: Path) -> None:
    with pytest.raises(InputError, match="the server has no such model; it has smol"):
        eval_flow.fn(EvalConfig.model_validate(asked(port, folder, model="other")))
    long = SamplingSettings(max_new_tokens=4096)
    with pytest.raises(InputError, match="the server answers 400"):
        eval_flow.fn(EvalConfig.model_validate(asked(port, folder, sampling=long)))


def test_one_that_tells_log_probabilities_before_temperature_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    warm = SamplingSettings(temperature=0.5)
    with vllm(folder, tmp_path / "log", "raw_logprobs") as port:
        with pytest.raises(InputError, match="processed_logprobs"):
            eval_flow.fn(EvalConfig.model_validate(asked(port, folder, sampling=warm)))
        assert rows(asked(port, folder)).num_rows == 48, "at temperature 1 there is no difference"
