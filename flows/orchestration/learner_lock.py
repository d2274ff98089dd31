"""Learners of one data folder take turns: two on one device would halve each other's speed."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from artifacts.store.data_dir import DataDir


@contextmanager
def learner_lock(
    data_dir: DataDir, device: str, log_message: Callable[[str], None]
) -> Iterator[None]:
    """Wait until no other learner of this data folder uses the device, and hold it in the block.

    It says once that it waits and for which process. The lock is the operating system's, so it is
    free as soon as its process ends, however that happens. Machines that share a data folder, and
    GPUs told apart by CUDA_VISIBLE_DEVICES, do not wait for each other.
    """
    path = _lock_path(data_dir, device)
    path.parent.mkdir(exist_ok=True)
    holder = path.with_suffix(".pid")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        process = holder.read_text() if holder.exists() else "unknown"
        log_message(f"waiting for the learner that uses this machine (process {process})")
        lock.acquire()
    try:
        holder.write_text(str(os.getpid()))
        yield
    finally:
        lock.release()


def _lock_path(data_dir: DataDir, device: str) -> Path:
    import torch

    place = "cpu"
    if device != "cpu" and torch.cuda.is_available():
        place = f"cuda-{os.environ.get('CUDA_VISIBLE_DEVICES', 'all')}"
    name = re.sub(r"[^\w.-]", "_", f"learner-{platform.node()}-{place}")
    return data_dir.root / "locks" / f"{name}.lock"
