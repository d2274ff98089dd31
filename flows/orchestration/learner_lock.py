"""Learners of one data folder take turns: two on one device would halve each other's speed.

The lock is the operating system's, so it goes with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artifacts.store.data_dir import current_data_dir
from tasks.runtime.progress import log_message


@contextmanager
def sole_learner(device: str) -> Iterator[None]:
    """Wait until no other learner of this home uses the device; none begins while the block runs.

    It says once that it waits and for which process. Machines that share a data folder, and GPUs
    told apart by CUDA_VISIBLE_DEVICES, do not wait for each other.
    """
    lock = _lock(device)
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            log_message(f"waiting for the learner that uses this machine (process {file.read()})")
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock(device: str) -> Path:
    import torch

    place = "cpu"
    if device != "cpu" and torch.cuda.is_available():
        place = f"cuda-{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}"
    name = re.sub(r"[^\w.-]", "_", f"learner-{platform.node()}-{place}")
    return current_data_dir().root / "locks" / name
