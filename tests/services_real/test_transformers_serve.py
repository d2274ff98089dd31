"""Loops A and B by a real `transformers serve`, the example of a poor server: text, one by one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pyarrow.parquet as pq
import pytest

from engines.openai_server import asking
from flows.eval import eval_flow
from flows.selection import selection_flow
from schemas.config import EvalConfig, SamplingSettings, SelectionConfig
from schemas.errors import InputError
from schemas.server import ServerSettings
from tests.mlflow_server import BUSY, LOSE_ANSWER, PASS, REFUSE, between

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


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


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


def test_503s_and_connections_that_are_cut_are_survived(
    served: str, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "FIRST_PAUSE", 0.05)
    first = eval_flow.fn(EvalConfig.model_validate(asked(served, tiny)))
    whole = pq.read_table(first.tables["completions"])
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

    with between(port_of(served)) as way:
        way.decide = decide
        result = eval_flow.fn(EvalConfig.model_validate(asked(f"{way.uri}/v1", tiny)))
    assert len(harmed) == 9
    assert pq.read_table(result.tables["completions"]).equals(whole)


def test_an_interrupt_leaves_no_request_running(served: str, tiny: str, tmp_path: Path) -> None:
    """The server itself goes on with the one request that it has, as nobody tells it not to."""
    words = ["eval", "--model", tiny, "--base-url", served, "--tokenizer", tiny, "--text-prompts"]
    words += ["--samples-per-request", "1", "--num-concurrent", "1", "--extra-body", DRAWING]
    words += ["--limit", "2000", "--samples", "16", "--max-new-tokens", "100"]
    server = listening(port_of(served))
    with between(port_of(served)) as way:
        words[words.index(served)] = f"{way.uri}/v1"
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            env=os.environ | {"THREELOOPS_HOME": str(tmp_path / "stopped")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + PATIENCE
        while sum(path.endswith("/completions") for path in way.paths) < 20:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130, said
        sent = len(way.paths)
        deadline = time.monotonic() + 60
        while seconds_of_work(server) > 0.2:
            assert time.monotonic() < deadline, "it works on, and nobody asks"
        assert len(way.paths) == sent


def listening(port: int) -> psutil.Process:
    """The process that listens on a port."""
    (found,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == port
    }
    return psutil.Process(found)


def seconds_of_work(process: psutil.Process) -> float:
    """How long a processor works for a process in the next two seconds."""
    before = process.cpu_times()
    time.sleep(2)
    after = process.cpu_times()
    return float(after.user + after.system - before.user - before.system)


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
