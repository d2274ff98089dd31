"""What decides the last bits of what a model computes, besides its weights and its input."""

from __future__ import annotations

import platform

import torch

from policy.model.load import resolve_device
from policy.model.packed import can_pack
from policy.model.precision import coarse_instructions, compute_dtype, precision_of
from schemas.config import Compute


def decided(compute: Compute) -> Compute:
    """The same with the precision that `auto` is here; InputError for a device that is not here."""
    dtype = compute_dtype(resolve_device(compute.device), compute.precision)
    return compute.model_copy(update={"precision": precision_of(dtype)})


def numerics(compute: Compute) -> str:
    """Device, precision, processor and threads, as `cpu float32 x86_64 AVX2 packed 2 threads`.

    Sums are split over the threads, and each set of instructions, with packed weights or without,
    adds in an order of its own: with two threads log-probabilities differ from those with one by up
    to 2e-5 nats, which can sample another token. On a GPU the model of the GPU takes the place of
    processor and threads.
    """
    place = resolve_device(compute.device)
    precision = str(compute_dtype(place, compute.precision)).removeprefix("torch.")
    allowed = torch.get_float32_matmul_precision()
    if allowed != "highest":  # products of float32 may be computed with fewer bits
        precision += f" ({allowed})"
    if place.type == "cuda":
        return f"cuda {precision} {torch.cuda.get_device_name(place)}"
    count = torch.get_num_threads()
    threads = "1 thread" if count == 1 else f"{count} threads"
    instructions = torch.backends.cpu.get_cpu_capability() + coarse_instructions()
    processor = f"{platform.machine()} {instructions}{' packed' if can_pack() else ''}"
    return f"{place.type} {precision} {processor} {threads}"
