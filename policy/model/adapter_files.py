"""An adapter alone as files, in the form that peft reads and servers load beside a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from policy.files.atomic_folder import atomic_folder
from policy.files.saving import saving
from policy.model.adapter import NAME
from schemas.errors import InputError

PREFIX = "base_model.model."  # before the name of a layer, in peft's files
MIDDLE = f".{NAME}."  # in the name of a parameter, and not in the files


def write_adapter(weights: Mapping[str, Tensor], folder: Path, *, rank: int, alpha: float) -> None:
    """Write an adapter that `adapter.add_adapter` made, from its parameters by name.

    The folder is there whole or not at all. Raises OSError where the disk refuses, and InputError
    for a weight that is no adapter's.
    """
    tensors = {_in_file(name): value.detach().cpu().contiguous() for name, value in weights.items()}
    layers = {name.removeprefix(PREFIX).rpartition(".lora_")[0] for name in tensors}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": True,
        "base_model_name_or_path": "",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({layer.rpartition(".")[2] for layer in layers}),
    }
    with atomic_folder(folder) as partial, saving(folder):
        save_file(tensors, partial / "adapter_model.safetensors", metadata={"format": "pt"})
        text = json.dumps(config, indent=2, sort_keys=True)
        (partial / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


def _in_file(name: str) -> str:
    if MIDDLE not in name or ".lora_" not in name:
        raise InputError(f"{name} is no weight of an adapter", "--adapter", "use --adapter lora")
    return PREFIX + name.replace(MIDDLE, ".")
