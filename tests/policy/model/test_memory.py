"""How much memory a run needs, how much there is, and what is said when it is too little."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from policy.model import memory
from policy.model.load import Policy
from policy.model.memory import (
    Needs,
    explaining_out_of_memory,
    free_bytes,
    learning_needs,
    measuring_needs,
    parameter_count,
    refuse_too_large,
)
from schemas.errors import InputError


def test_weights_are_counted_without_loading_them(
    tiny_folder: Callable[[str], Path], tiny_policy: Callable[[str], Policy]
) -> None:
    for architecture in ("llama", "gemma2"):
        weights = tiny_policy(architecture).model.parameters()
        counted = parameter_count(tiny_folder(architecture))
        assert counted == sum(weight.numel() for weight in weights)


def test_a_file_that_is_no_safetensors_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(InputError, match="not a complete safetensors file"):
        parameter_count(tmp_path)


def test_learning_holds_the_weights_five_times_and_one_problem_s_completions(
    tiny_folder: Callable[[str], Path],
) -> None:
    folder = tiny_folder("llama")
    count = parameter_count(folder)
    assert measuring_needs(folder).total == 4 * count
    few, many = (
        learning_needs(folder, samples=samples, max_new_tokens=64) for samples in (8, 1000)
    )
    assert few.weight_bytes == many.weight_bytes == 20 * count
    # 512 tokens against 64,000
    assert many.pass_bytes == 125 * few.pass_bytes
    small = learning_needs(folder, samples=1, max_new_tokens=64)
    assert small.pass_bytes == few.pass_bytes / 2, "a pass is never planned below 256 tokens"


def test_an_adapter_holds_the_weights_once_and_recomputing_keeps_less(
    tiny_folder: Callable[[str], Path],
) -> None:
    folder = tiny_folder("llama")
    whole, sparing = (
        learning_needs(folder, samples=8, max_new_tokens=64, adapter=True, recompute=recompute)
        for recompute in (False, True)
    )
    assert whole.weight_bytes == sparing.weight_bytes == 4 * parameter_count(folder)
    assert sparing.pass_bytes < whole.pass_bytes


def test_what_fits_is_let_through() -> None:
    needs = Needs(10, copies=5, pass_bytes=100)
    refuse_too_large(needs, 300, "default")
    with pytest.raises(InputError):
        refuse_too_large(needs, 299, "default")


def test_the_line_says_how_much_is_missing_and_names_the_options_that_help() -> None:
    needs = Needs(10**9, copies=5, pass_bytes=3 * 10**9)
    with pytest.raises(InputError) as weights_alone:
        refuse_too_large(needs, 8 * 10**9, "owner/name")
    line = str(weights_alone.value)
    assert "\n" not in line
    for words in ("--model owner/name", "23.0 GB", "20.0", "3.0", "8.0 GB are free", "smaller"):
        assert words in line
    assert "--samples" not in line, "it would not help"
    with pytest.raises(InputError, match="lower --samples or --max-new-tokens"):
        refuse_too_large(needs, 21 * 10**9, "owner/name")


def test_free_memory_is_the_system_s_or_the_container_s_whichever_is_less(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert 0 < free_bytes("cpu") <= psutil.virtual_memory().total
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=102_400))
    assert free_bytes("cpu") == 102_400
    (tmp_path / "memory.current").write_text("60000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 20000\n")
    (tmp_path / "memory.max").write_text("90000\n")
    assert free_bytes("cpu") == 50_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes("cpu") == 102_400


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_an_allocation_that_fails_names_what_to_lower(error: Exception) -> None:
    with (
        pytest.raises(InputError, match="training: there is not enough memory; lower --samples"),
        explaining_out_of_memory("training", "lower --samples"),
    ):
        raise error


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shape"), explaining_out_of_memory("training", "less"):
        raise RuntimeError("shape mismatch")


def test_on_a_gpu_its_own_free_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5000, 9000))
    assert free_bytes("auto") == free_bytes("cuda") == 5000
    assert free_bytes("cpu") != 5000
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert free_bytes("auto") != 5000
