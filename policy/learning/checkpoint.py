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

EARLIER = "earlier.safetensors"


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


def check_same(
    folder: Path,
    weights: Mapping[str, Tensor],
    moments: Mapping[str, Tensor],
    state: Mapping[str, Any],
    parameters: Mapping[str, Tensor],
    counters: Mapping[str, Any],
) -> None:
    """InputError unless a checkpoint continues the run with these parameters and counters."""
    # the start is the reference, and with an adapter all weights but its own
    compared = ["format", "temperature", "settings", "start", "off_policy"]
    if counters["settings"]["schedule"] != "constant":
        compared.append("total_steps")
    differing = [key for key in compared if state.get(key) != counters.get(key)]
    shapes = {name: value.shape for name, value in parameters.items()}
    if {name: value.shape for name, value in weights.items()} != shapes:
        differing.append("model")
    kinds = ("exp_avg", "exp_avg_sq") if state.get("steps_done") else ()
    if moments.keys() != {f"{kind}/{name}" for kind in kinds for name in shapes}:
        differing.append("optimizer")
    if differing:
        raise InputError(
            f"the checkpoint was saved with another {', '.join(differing)}",
            where=str(folder),
            remedy="resume with what the run was started with",
        )


def write_earlier(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Add the weights of earlier policies to a checkpoint; OSError where the disk refuses."""
    with saving(folder):
        save_file(_on_cpu(weights), folder / EARLIER)


def read_earlier(folder: Path) -> dict[str, Tensor]:
    """The weights of earlier policies that a checkpoint has; InputError if unreadable."""
    try:
        return load_file(Path(folder) / EARLIER)
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"not a readable checkpoint: {error}".splitlines()[0],
            where=str(folder),
            remedy="give a folder that a learning run with --max-off-policy-steps has saved",
        ) from error


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
