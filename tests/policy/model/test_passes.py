"""Splitting a step by tokens."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from policy.model.passes import automatic_budget, memory_bytes, plan_passes


def test_groups_go_together_as_long_as_they_fit() -> None:
    assert plan_passes([4, 4, 4, 9, 1], [0, 1, 2, 3, 4], 8) == [[0, 1], [2], [3], [4]]
    assert plan_passes([4, 4, 4], [0, 2], 8) == [[0, 2]]
    assert plan_passes([4], [], 8) == []


def _tiny() -> Any:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=32,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )


def test_a_container_with_less_memory_than_its_machine_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _tiny()
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("policy.model.passes.CGROUP_LIMIT", limit)
    machine = memory_bytes(model)
    limit.write_text("max\n")
    assert memory_bytes(model) == machine
    limit.write_text("1000000\n")
    assert memory_bytes(model) == 1_000_000


def test_the_automatic_budget_follows_the_memory_within_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = _tiny()
    floats = 14 * 16 + 4 * 32 + 2 * 2 * 10 + 32
    assert automatic_budget(model, 10**9) == 256
    assert automatic_budget(model, 10, recompute=True) == 2048
    sparing = floats + 16  # one layer's input more than its whole, for a model of one layer
    monkeypatch.setattr("policy.model.passes.memory_bytes", lambda model: 4 * 4 * sparing * 1000)
    assert automatic_budget(model, 10, recompute=True) == 1000
    for memory, tokens in ((0, 256), (4 * 4 * floats * 1000, 1000), (2**40, 2048)):
        monkeypatch.setattr("policy.model.passes.memory_bytes", lambda model, memory=memory: memory)
        assert automatic_budget(model, 10) == tokens


def test_on_a_gpu_its_own_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SimpleNamespace(device=torch.device("cuda"))
    properties = SimpleNamespace(total_memory=80 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    assert memory_bytes(model) == 80 * 10**9  # type: ignore[arg-type]
