"""The peak of this machine for matrix products of the type that a model computes in.

In operations a second: the best of several sizes and repetitions, with the same number of threads
as everything else. It is a ceiling for what the other benchmarks could reach, and leaves out how
fast memory is.
"""

from __future__ import annotations

import time

import torch

from bench.process import Record, answer
from bench.workload import precision_on, wait_for
from policy.model.precision import compute_dtype
from schemas.config import Precision

SIZES = {"cpu": (1024, 2048, 3072), "cuda": (4096, 8192)}


def measure(
    seconds: float = 2.0, device: str = "cpu", precision: Precision | None = None
) -> Record:
    """Operations a second of the best product; about `seconds` in all, warm-up apart."""
    best, best_size = 0.0, 0
    sizes, dtype = (
        SIZES[device],
        compute_dtype(torch.device(device), precision or precision_on(device)),
    )
    for size in sizes:
        left, right, out = (torch.rand(size, size, dtype=dtype, device=device) for _ in range(3))
        torch.mm(left, right, out=out)
        wait_for(device)
        end = time.perf_counter() + seconds / len(sizes)
        while time.perf_counter() < end:
            started = time.perf_counter()
            torch.mm(left, right, out=out)
            wait_for(device)
            rate = 2 * size**3 / (time.perf_counter() - started)
            if rate > best:
                best, best_size = rate, size
    return {
        "peak_operations_per_second": best,
        "size": best_size,
        "products": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    answer(measure)
