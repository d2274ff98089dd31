"""A real vLLM, in the environment that `make vllm` makes, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mlflow_server import free_port

ROOT = Path(__file__).parents[1]
PYTHON = Path(os.environ.get("THREELOOPS_VLLM") or ROOT / ".venv-vllm/bin/python")
PATIENCE = 1500.0  # seconds until it answers, on a machine that does much else
NAME = "smol"
NOT_THERE = f"there is no vLLM in {PYTHON}; `make vllm` installs it, some gigabytes"
SETTINGS = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # it then says its precision
    "CUDA_VISIBLE_DEVICES": "",
}


@contextmanager
def vllm(folder: Path, log: Path, mode: str, *more: str, **settings: str) -> Iterator[int]:
    """`vllm` with a model; its port. `mode` is which log-probabilities it tells."""
    port = free_port()
    words = ["--model", str(folder), "--served-model-name", NAME, "--dtype", "float32"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
    words += ["--generation-config", "vllm", "--logprobs-mode", mode, "--max-model-len", "2048"]
    own = {name: v for name, v in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [str(PYTHON), "-m", "vllm.entrypoints.openai.api_server", *words, *more],
            env=own | SETTINGS | settings,
            cwd=log.parent,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not _answers(port):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
