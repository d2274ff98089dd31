"""What decides the last bits is named: device, precision, processor, threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest
import torch

from policy.model.numerics import numerics
from schemas.config import Compute

CPU = Compute(device="cpu", precision="float32")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_numerics_name_device_precision_processor_and_threads(threads: None) -> None:
    torch.set_num_threads(1)
    capability = torch.backends.cpu.get_cpu_capability()
    alone = f"cpu float32 {platform.machine()} {capability} 1 thread"
    assert numerics(CPU) == alone
    torch.set_num_threads(2)
    assert numerics(CPU) == alone.replace("1 thread", "2 threads")


def test_numerics_say_where_products_may_be_less_precise() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        assert numerics(CPU).startswith("cpu float32 (high) ")
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_numerics_of_a_gpu_name_its_model() -> None:
    assert numerics(Compute(device="cuda")) == numerics(Compute())
    assert torch.cuda.get_device_name() in numerics(Compute(device="cuda"))
