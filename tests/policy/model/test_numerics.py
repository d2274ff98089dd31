"""What decides the last bits is named: device, precision, processor, threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest
import torch

from policy.model.numerics import numerics
from policy.model.packed import can_pack
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
    packed = " packed" if can_pack() else ""
    alone = f"cpu float32 {platform.machine()} {capability}{packed} 1 thread"
    assert numerics(CPU) == alone
    torch.set_num_threads(2)
    assert numerics(CPU) == alone.replace("1 thread", "2 threads")


@pytest.mark.parametrize(("amx", "word"), [(True, "+AMX"), (False, "+BF16")])
def test_numerics_tell_processors_apart_that_multiply_differently(
    amx: bool, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers that differ in it must not make one table."""
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
    assert word not in numerics(CPU), "the tests keep oneDNN from these instructions"
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    coarse = Compute(device="cpu", precision="bfloat16")
    assert f"{word} " in numerics(CPU)
    assert numerics(coarse) == numerics(CPU).replace("float32", "bfloat16")
    assert numerics(Compute(device="cpu")) == numerics(coarse)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    assert numerics(Compute(device="cpu")).startswith("cpu float32 ")


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
