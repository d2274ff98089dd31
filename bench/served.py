"""Model servers on loopback, each with one model, until the block ends: vLLM, transformers serve.

vLLM lives in an environment of its own, which `make vllm` makes.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 1500.0  # seconds until a server answers, on a machine that does much else
NAME = "smol"  # the model's name at vLLM
# where a prompt is computed in parts, a request with a seed ends vLLM on a CPU (0.32.0: "CPU
# Generator does not use offset"), and without this a prompt is cut as soon as many come at once
WHOLE_PROMPTS = "--no-enable-chunked-prefill"
OFFLINE = {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
OF_VLLM = OFFLINE | {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_SERVER_DEV_MODE": "1",  # it then says its precision
}
SERVE = "from transformers.cli.transformers import main; main()"


@contextmanager
def vllm(
    python: Path,
    folder: Path,
    log: Path,
    *more: str,
    dtype: str = "float32",
    mode: str = "processed_logprobs",
    **settings: str,
) -> Iterator[int]:
    """vLLM with the model of a folder; its port. `mode` is which log-probabilities it tells."""
    words = ["-m", "vllm.entrypoints.openai.api_server", "--model", str(folder)]
    words += ["--served-model-name", NAME, "--dtype", dtype, "--enforce-eager"]
    words += ["--generation-config", "vllm", "--logprobs-mode", mode, "--max-model-len", "2048"]
    words += [WHOLE_PROMPTS]
    left_out = {"PYTHONPATH", "PYTHONHOME"}  # they are for the Python that starts it
    own = {name: value for name, value in os.environ.items() if name not in left_out}
    with _served([str(python), *words, *more], own | OF_VLLM | settings, log) as port:
        yield port


@contextmanager
def transformers_serve(folder: Path, log: Path) -> Iterator[int]:
    """`transformers serve` with the model of a folder; its port."""
    words = [sys.executable, "-c", SERVE, "serve", str(folder), "--device", "cpu"]
    with _served(words, os.environ | OFFLINE, log) as port:
        yield port


@contextmanager
def _served(words: list[str], environment: Mapping[str, str], log: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*words, "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
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
