"""An adapter's files are those that peft reads, and mean what the adapter in memory means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from policy.learning.checkpoint import trainable
from policy.model.adapter import add_adapter
from policy.model.adapter_files import write_adapter
from policy.model.load import load_policy
from schemas.errors import InputError

TOKENS = torch.tensor([[5, 6, 7, 8, 3]])


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma2"])
def test_peft_reads_what_was_written(
    tiny_folder: Callable[[str], Path], architecture: str, tmp_path: Path
) -> None:
    folder = tiny_folder(architecture)
    mine = load_policy(folder, name="mine", device="cpu")
    add_adapter(mine.model, rank=4, alpha=8, seed=0)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in trainable(mine.model).values():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    write_adapter(trainable(mine.model), tmp_path / "adapter", rank=4, alpha=8)

    base: Any = load_policy(folder, name="base", device="cpu").model
    with torch.inference_mode():
        without = base(TOKENS).logits
    theirs = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    with torch.inference_mode():
        expected, found = mine.model(TOKENS).logits, theirs(TOKENS).logits
    torch.testing.assert_close(found, expected)
    assert (expected - without).abs().max() > 0.01, "it does something"


def test_what_is_no_adapter_is_not_written_as_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no weight of an adapter"):
        write_adapter({"model.norm.weight": torch.ones(2)}, tmp_path / "a", rank=4, alpha=8)
    assert not (tmp_path / "a").exists()
