"""Whether a run fits into memory, from the sizes in a model's files, before anything is loaded.

It estimates from below: what it refuses could not have run, what it lets through may still be slow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.model.load import weight_files
from schemas.errors import InputError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
FLOAT_BYTES = 4
# policy, reference, gradients and the two moments of AdamW, each as large as the weights
LEARNING_COPIES = 5
GB = 10**9


@dataclass(frozen=True)
class Needs:
    """Bytes that a run needs at the least: `copies` of all weights, and its smallest pass."""

    parameters: int
    copies: int
    pass_bytes: int = 0

    @property
    def weight_bytes(self) -> int:
        """All copies of the weights, in float32."""
        return self.parameters * self.copies * FLOAT_BYTES

    @property
    def total(self) -> int:
        """Everything."""
        return self.weight_bytes + self.pass_bytes


def measuring_needs(folder: Path) -> Needs:
    """What sampling from the model in a folder needs: its weights."""
    return Needs(parameter_count(folder), copies=1)


def learning_needs(
    folder: Path,
    *,
    samples: int,
    max_new_tokens: int,
    adapter: bool = False,
    recompute: bool = False,
) -> Needs:
    """What a step of learning needs: five copies of the weights, and one problem's completions.

    With an adapter, one copy is policy and reference; the adapter's own weights are not counted.

    The completions of a problem go through the model together, all of them at their longest here;
    further problems join them only where there is room.
    """
    from transformers import AutoConfig

    from policy.model.load import quiet_transformers
    from policy.model.passes import LEAST_TOKENS, floats_a_token

    with quiet_transformers():
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True)
    tokens = max(LEAST_TOKENS, samples * max_new_tokens)
    floats = floats_a_token(config.get_text_config(), max_new_tokens, recompute=recompute)
    copies = 1 if adapter else LEARNING_COPIES
    return Needs(parameter_count(folder), copies, tokens * floats * FLOAT_BYTES)


def parameter_count(folder: Path) -> int:
    """The number of weights, from the headers of the safetensors files."""
    return sum(
        math.prod(tensor["shape"])
        for file in weight_files(folder)
        for name, tensor in _header(file).items()
        if name != "__metadata__"
    )


def _header(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            return dict(json.loads(content.read(min(length, file.stat().st_size))))
    except (OSError, ValueError, TypeError):
        raise InputError(
            "is no whole safetensors file", str(file), "copy the model's folder again"
        ) from None


def free_bytes(device: str) -> int | None:
    """Memory in bytes that is free on a device, or in the container where that is less.

    None where the system does not say.
    """
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.mem_get_info()[0])
    try:
        lines = MEMINFO.read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return min([*found, *_container_room()], default=None)


def _container_room() -> list[int]:
    """What a container's limit leaves, its file cache counted as free; empty without a limit."""
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        statistics = dict(
            line.split() for line in (CGROUP / "memory.stat").read_text().splitlines()
        )
        return [limit - used + int(statistics.get("inactive_file", 0))]
    except (OSError, ValueError):
        return []


def refuse_too_large(needs: Needs, free: int | None, model: str) -> None:
    """InputError when a run needs more memory than is free, naming the options that change it."""
    if free is None or needs.total <= free:
        return
    parts = f"{needs.parameters / 1e6:.0f} million weights {needs.weight_bytes / GB:.1f}"
    if needs.copies == LEARNING_COPIES:
        parts = (
            f"policy, reference, gradients and AdamW's two moments {needs.weight_bytes / GB:.1f}"
        )
    if needs.pass_bytes:
        parts += f", the completions of one problem {needs.pass_bytes / GB:.1f}"
    remedy = "take a smaller --model, or free some memory"
    if needs.weight_bytes <= free:
        remedy = f"lower --samples or --max-new-tokens, or {remedy}"
    raise InputError(
        f"needs {needs.total / GB:.1f} GB of memory or more ({parts}), and {free / GB:.1f} GB "
        "are free",
        f"--model {model}",
        remedy,
    )


@contextmanager
def explaining_out_of_memory(what: str, remedy: str) -> Iterator[None]:
    """Turn an allocation that failed inside into an InputError that names what to lower."""
    import torch

    try:
        yield
    except (RuntimeError, MemoryError) as error:
        full = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if not full and "can't allocate memory" not in str(error):  # how torch says it of the CPU
            raise
        raise InputError("the memory does not suffice", what, remedy) from None
