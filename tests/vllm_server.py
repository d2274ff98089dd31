"""A real vLLM, in the environment that `make vllm` makes, for tests."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from bench import served
from bench.served import NAME, PATIENCE

__all__ = ["NAME", "NOT_THERE", "PATIENCE", "PYTHON", "ROOT", "vllm"]

ROOT = Path(__file__).parents[1]
PYTHON = Path(os.environ.get("THREELOOPS_VLLM") or ROOT / ".venv-vllm/bin/python")
NOT_THERE = f"there is no vLLM in {PYTHON}; `make vllm` installs it, some gigabytes"


def vllm(
    folder: Path, log: Path, mode: str, *more: str, **settings: str
) -> AbstractContextManager[int]:
    """`vllm` with a model; its port. `mode` is which log-probabilities it tells."""
    return served.vllm(PYTHON, folder, log, *more, mode=mode, **settings)
