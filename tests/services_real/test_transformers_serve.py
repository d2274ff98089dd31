"""Loops A and B by a real `transformers serve`, the example of a poor server: text, one by one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.eval import eval_flow
from flows.selection import selection_flow
from schemas.config import EvalConfig, SamplingSettings, SelectionConfig
from schemas.errors import InputError
from schemas.server import ServerSettings

pytest.importorskip("openai", reason="needs the extra server")
pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]

PATIENCE = 600.0
SERVE = "from transformers.cli.transformers import main; main()"
# what it takes for its own settings, in place of the parameters that it refuses
DRAWING = json.dumps({"generation_config": json.dumps({"do_sample": True, "top_k": 0})})


@pytest.fixture(scope="module")
def served(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address, while it serves the tiny model."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    words = ["serve", tiny, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    offline = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *words],
            env=os.environ | offline,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(f"http://127.0.0.1:{port}/health"):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def asked(url: str, tiny: str, **given: object) -> dict[str, object]:
    """How it has to be asked: text, a sample at a time, one request after another."""
    settings = {
        "base_url": url,
        "tokenizer": tiny,
        "text_prompts": True,
        "samples_per_request": 1,
        "num_concurrent": 1,
        "extra_body": DRAWING,
    }
    return {
        "model": tiny,
        "limit": 6,
        "samples": 4,
        "sampling": SamplingSettings(max_new_tokens=8),
        "server": ServerSettings.model_validate(settings | given),
    }


def test_it_is_measured_and_the_same_again(
    served: str, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = eval_flow.fn(EvalConfig.model_validate(asked(served, tiny)))
    assert first.engine is not None
    assert (first.engine.gives, first.engine.prompts) == ("text", "text")
    assert first.engine.answers_as == f"{tiny}@main"
    table = pq.read_table(first.tables["completions"])
    assert table["logprobs"].null_count == table["token_ids"].null_count == 24
    assert len(set(table["text"].to_pylist())) > 6, "it draws, and is not greedy"
    assert first.outcomes["correct"] + first.outcomes["wrong_answer"] > 0
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    again = eval_flow.fn(EvalConfig.model_validate(asked(served, tiny)))
    assert again.tables["completions"] != first.tables["completions"]
    assert pq.read_table(again.tables["completions"]).equals(table), "the seeds are its own"


def test_a_selection_has_no_likelihood_rule(served: str, tiny: str) -> None:
    result = selection_flow.fn(SelectionConfig.model_validate(asked(served, tiny)))
    assert set(result.selected) == {"oracle", "majority", "random"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"extra_body": None}, "answers 422: Unexpected fields in the request"),
        ({"text_prompts": False}, "answers 400: prompt must be a string"),
        ({"samples_per_request": None}, "gave 1 samples where 2 were asked for"),
    ],
)
def test_what_it_cannot_do_is_said_in_one_line(
    given: dict[str, object], said: str, served: str, tiny: str
) -> None:
    with pytest.raises(InputError, match=said):
        eval_flow.fn(EvalConfig.model_validate(asked(served, tiny, **given)))
