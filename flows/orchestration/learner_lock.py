"""Learners of one data folder take turns: two on one device would halve each other's speed."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from artifacts.store.data_dir import DataDir
from artifacts.store.shared.objects import Objects
from flows.orchestration.turns import across_store, taking_turns


@contextmanager
def learner_lock(
    data_dir: DataDir,
    device: str,
    log_message: Callable[[str], None],
    shared: Objects | None = None,
) -> Iterator[None]:
    """Wait until no other learner of this data folder uses the device, and hold it in the block.

    With a shared store, no other learner of this machine in any data folder that shares it.

    GPUs told apart by CUDA_VISIBLE_DEVICES do not wait for each other.
    """
    name, what = _name(device), "the learner that uses this machine"
    with taking_turns(data_dir, name, what, log_message, across_store(shared, name)):
        yield


def _name(device: str) -> str:
    import torch

    place = "cpu"
    if device != "cpu" and torch.cuda.is_available():
        place = f"cuda-{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}"
    return re.sub(r"[^\w.-]", "_", f"learner-{platform.node()}-{place}")
