"""Whether a run fits into memory, from the sizes in a model's files, before anything is loaded.

The estimate is a lower bound: what is refused could not have run, what is let through may be slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from policy.files.header import stored_tensors
from policy.files.model_files import weight_files
from schemas.errors import InputError

CGROUP = Path("/sys/fs/cgroup")
FLOAT_BYTES = 4
# policy, reference, gradients and the two moments of AdamW, each as large as the weights
LEARNING_COPIES = 5
GB = 10**9


@dataclass(frozen=True)
class Needs:
    """Bytes that a run needs at least: `copies` of all weights, and its smallest pass."""

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
    sharers: int = 1,
) -> Needs:
    """What a step of learning needs: five copies of the weights, and one problem's completions.

    With an adapter, one copy is both policy and reference; the adapter's own weights are not
    counted. The completions of a problem go through the model together; here all of them have their
    greatest length. More problems join them only where there is room. Of processes that share the
    weights each has the whole only while it samples.
    """
    from policy.model.load import load_config
    from policy.model.passes import LEAST_TOKENS, floats_a_token

    config = load_config(folder)
    tokens = max(LEAST_TOKENS, samples * max_new_tokens)
    floats = floats_a_token(config.get_text_config(), max_new_tokens, recompute=recompute)
    copies = 1 if adapter else LEARNING_COPIES
    if sharers > 1:
        copies = 1 + LEARNING_COPIES // sharers
    return Needs(parameter_count(folder), copies, tokens * floats * FLOAT_BYTES)


def parameter_count(folder: Path) -> int:
    """The number of weights, from the headers of the safetensors files."""
    return sum(tensor.numbers for tensor in stored_tensors(weight_files(folder)))


def free_bytes(device: str) -> int:
    """Memory in bytes that is free on a device, or in the container where that is less."""
    if device != "cpu":
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.mem_get_info()[0])
    return min([int(psutil.virtual_memory().available), *_container_room()])


def _container_room() -> list[int]:
    """What is left of a container's limit, its file cache counted as free; empty without a limit.

    psutil reports the machine, not the container.
    """
    try:
        limit = int((CGROUP / "memory.max").read_text())
        used = int((CGROUP / "memory.current").read_text())
        statistics = dict(
            line.split() for line in (CGROUP / "memory.stat").read_text().splitlines()
        )
        return [limit - used + int(statistics.get("inactive_file", 0))]
    except (OSError, ValueError):
        return []


def refuse_too_large(needs: Needs, free: int, model: str) -> None:
    """InputError when a run needs more memory than is free; it names the options that change it."""
    if needs.total <= free:
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
        if not full and "can't allocate memory" not in str(error):  # torch's words on a CPU
            raise
        raise InputError("there is not enough memory", what, remedy) from None
