"""A learner's state as files: weights, optimiser moments and counters, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from policy.files.saving import saving
from schemas.errors import InputError


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that learn, by name; tied ones appear once, under their first name."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def write_state(
    folder: Path, weights: Mapping[str, Tensor], optimizer: Mapping[str, Tensor], state: Any
) -> None:
    """Write the three files of a checkpoint into `folder`; OSError where the disk refuses."""
    with saving(folder):
        save_file(_on_cpu(weights), folder / "weights.safetensors")
        save_file(_on_cpu(optimizer), folder / "optimizer.safetensors")
    text = json.dumps(state, indent=2, sort_keys=True, allow_nan=False)
    (folder / "state.json").write_text(text + "\n", encoding="utf-8")


def read_state(folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], Any]:
    """Weights, optimiser moments and counters of a checkpoint; InputError if unreadable."""
    folder = Path(folder)
    try:
        state = dict(json.loads((folder / "state.json").read_text(encoding="utf-8")))
        weights = load_file(folder / "weights.safetensors")
        return weights, load_file(folder / "optimizer.safetensors"), state
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise InputError(
            f"not a readable checkpoint: {error}".splitlines()[0],
            where=str(folder),
            remedy="give a folder that a learning run has saved",
        ) from error


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
