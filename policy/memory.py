"""How much memory is free, and how many completions can be decoded together in it.

It measures and divides; it allocates nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch

from policy.load import Policy

SHARE = 0.25  # of the free memory; the rest is for everyone else
MOST_ROWS = 2048  # more would save nothing: the matrix products are large enough by then
UNKNOWN_MEMORY = 4 * 2**30  # bytes, where the system does not say
GROUP_LIMITS = (  # of a container, version 2 and 1: limit, used
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def rows_that_fit(policy: Policy, tokens_a_row: int) -> int:
    """Completions to decode together, at least 1, when each keeps this many tokens' keys.

    It is a power of two, so that a little more or less free memory does not change how a repeated
    run is rounded. Two copies of a row's logits are counted too.
    """
    config = policy.model.config.get_text_config()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    numbers: int = (
        2 * config.num_hidden_layers * heads * width * tokens_a_row + 2 * config.vocab_size
    )
    fitting = int(free_memory(policy.device) * SHARE) // (numbers * policy.dtype.itemsize)
    return min(MOST_ROWS, 1 << max(fitting.bit_length() - 1, 0))


def free_memory(device: torch.device) -> int:
    """Bytes that could be allocated on `device` now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    bounds = [_system_memory()]
    for limit, used in GROUP_LIMITS:
        try:
            bounds.append(int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # no such group, or no limit ("max")
            continue
    return max(0, min(bounds))


def _system_memory() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return UNKNOWN_MEMORY
