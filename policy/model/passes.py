"""Which problems go through the model together: as many as fit into memory.

The gradients of several passes add up to the gradient of one, so the plan changes the time and the
memory of a step, and its result only by rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from transformers import PreTrainedModel

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
MOST_TOKENS = 2048  # more at once would not be faster
LEAST_TOKENS = 256
SHARE_OF_MEMORY = 0.25


def plan_passes(sizes: Sequence[int], groups: Sequence[int], budget: int) -> list[list[int]]:
    """Split `groups` (indices into `sizes`), in order, into parts of at most `budget` tokens.

    A group is never divided, because its baseline needs all its completions. One that is larger
    than the budget goes alone.
    """
    parts: list[list[int]] = []
    used = 0
    for group in groups:
        if not parts or used + sizes[group] > budget:
            parts.append([])
            used = 0
        parts[-1].append(group)
        used += sizes[group]
    return parts


def automatic_budget(
    model: PreTrainedModel, longest: int, *, recompute: bool = False, processes: int = 1
) -> int:
    """Tokens of one pass with gradient, from the sizes of the model, its paths and the memory.

    `longest` bounds the tokens that one token attends to. With `recompute`, all layers keep
    only their inputs, and one layer at a time what its backward pass needs. The memory is that of
    so many `processes` alike.

    This counts the memory that the machine has, not what is free at the moment. So the same run on
    the same machine is always split in the same way, and gives the same bytes.
    """
    config = model.config.get_text_config()
    floats = floats_a_token(config, longest, recompute=recompute)
    fitting = int(SHARE_OF_MEMORY * memory_bytes(model) / (4 * floats * processes))
    return max(LEAST_TOKENS, min(MOST_TOKENS, fitting))


def floats_a_token(config: Any, longest: int, *, recompute: bool = False) -> int:
    """Numbers kept for the backward pass of one token, which attends to `longest` tokens.

    Measured on Llama models: what each layer keeps, with the attention weights counted twice, and
    the logits. With `recompute`, all layers keep only their inputs, and one at a time the rest.
    """
    hidden = config.hidden_size
    intermediate = getattr(config, "intermediate_size", None) or 4 * hidden
    per_layer = 14 * hidden + 4 * intermediate + 2 * config.num_attention_heads * longest
    layers = config.num_hidden_layers
    kept = layers * hidden + per_layer if recompute else layers * per_layer
    return int(kept + config.vocab_size)


def memory_bytes(model: PreTrainedModel) -> int:
    """Memory in bytes of the model's device, or of the container where that is less."""
    if model.device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(model.device).total_memory)
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no container, or one without a limit
        return total
