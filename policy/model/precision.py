"""How precisely a model computes: in float32, or mostly in bfloat16 where the device has it.

Weights, their gradients and the optimiser's moments are float32 everywhere. In bfloat16 the small
updates of learning would round to zero.

On a GPU, autocast computes matrix products in bfloat16 from the float32 weights. The alternative is
a bfloat16 copy of the model that is synchronised after each step. Autocast was chosen because
sampling, the pass that is differentiated and the reference then run the same modules through the
same casts. So the log-probabilities that the sampler records are those of the policy that learns,
up to the order of sums in bfloat16, and no copy can be out of date. A copy would save the casts;
but a call of the sampler casts each weight only once and keeps the result until it ends.

On a CPU the linear layers read copies (`policy.model.packed`), in both precisions. Sampler and
learner read the same ones, which are made anew after each update.

The output layer and the softmax stay in float32. bfloat16 has 8 bits: it would move a logit of 20
by up to 0.06, and the log-probability of a token with it. Many steps of learning move it less.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy.model.packed import PackedLinears, packing
from schemas.config import Precision

ATTRIBUTE = "_threeloops_arithmetic"
# the last words of oneDNN's names of instruction sets that have bfloat16
WITH_BFLOAT16 = ("BF16", "AMX", "FP16", "AVX10_1_512", "AVX10_2_512")
FLOAT32_GAP, HALF_GAP = 1e-3, 0.1  # nats a token


@dataclass
class Arithmetic:
    """The type of a model's products, and the copies of its weights that they read."""

    dtype: torch.dtype
    packed: PackedLinears = field(default_factory=PackedLinears)


def arithmetic_of(model: PreTrainedModel) -> Arithmetic:
    """How this model computes: as it was told, else as suits its device."""
    found = vars(model).get(ATTRIBUTE)
    if found is None:
        found = Arithmetic(compute_dtype(model.device))
        vars(model)[ATTRIBUTE] = found
    return cast(Arithmetic, found)


def compute_in(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Have the model's products computed in this type from now on."""
    vars(model)[ATTRIBUTE] = Arithmetic(dtype)


def compute_dtype(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """The type of matrix products on a device for what `--precision` says.

    `auto` is bfloat16 where the device multiplies in it faster: on a GPU that supports it, and on a
    CPU with instructions for it. A CPU without them is several times slower in bfloat16.
    """
    coarse = has_bfloat16(device) if precision == "auto" else precision == "bfloat16"
    return torch.bfloat16 if coarse else torch.float32


def precision_of(dtype: torch.dtype) -> Precision:
    """What `--precision` calls a type of products."""
    return "float32" if dtype == torch.float32 else "bfloat16"


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions that multiply in bfloat16.

    Where `ONEDNN_MAX_CPU_ISA` keeps oneDNN from using them, a CPU counts as one without.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and coarse_instructions() != ""


def coarse_instructions() -> str:
    """What this CPU multiplies with in bfloat16, as `+AMX` or `+BF16`; empty where it cannot."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return ""
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if allowed not in ("", "ALL", "DEFAULT") and not allowed.endswith(WITH_BFLOAT16):
        return ""
    processor: Any = torch.cpu
    if processor._is_amx_tile_supported():
        return "+AMX"
    return "+BF16" if processor._is_avx512_bf16_supported() else ""


def largest_rounding_gap(dtype: torch.dtype) -> float:
    """The largest mean difference between two passes' log-probabilities that rounding explains.

    In nats a token. Measured: below 1e-5 in float32, 0.02 in bfloat16. One update of usual size
    moves a token's log-probability by more than the limit for float32.
    """
    return FLOAT32_GAP if dtype == torch.float32 else HALF_GAP


def rounding_gap_of(dtype: str) -> float:
    """As `largest_rounding_gap`, of a server by what it says it computes in; else of float32."""
    return HALF_GAP if dtype in ("bfloat16", "float16") else FLOAT32_GAP


@contextmanager
def computing(model: PreTrainedModel, *, keep_casts: bool = False) -> Iterator[None]:
    """Within the block, the model computes in its precision.

    With `keep_casts` the block has no gradient and keeps the bfloat16 version of each weight until
    its end. A pass with gradient must not use it: a version that was cast without gradient would
    leave the weight out of the backward pass.
    """
    arithmetic = arithmetic_of(model)
    dtype = arithmetic.dtype
    with ExitStack() as stack:
        if dtype == torch.float32 or model.dtype != torch.float32:
            if keep_casts:
                stack.enter_context(torch.inference_mode())
        else:
            if keep_casts:
                stack.enter_context(torch.no_grad())  # in inference mode autocast keeps nothing
                stack.enter_context(_all_learning(model))
            kind = model.device.type
            stack.enter_context(torch.autocast(kind, dtype, cache_enabled=keep_casts))
        stack.enter_context(packing(model, arithmetic.packed, dtype))
        if dtype != torch.float32 and model.dtype == torch.float32:
            stack.enter_context(_precise_head(model))
        yield


def working_dtype(tensor: Tensor) -> torch.dtype:
    """The type in which a matrix product of this tensor would be computed now.

    Keys are stored in this type, so that they are not cast again for every token.
    """
    kind = tensor.device.type
    if torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return tensor.dtype


@contextmanager
def _all_learning(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, all parameters require a gradient: autocast keeps the casts of only those.

    Otherwise the frozen weights beside an adapter would be cast again for every token.
    """
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)


@contextmanager
def _precise_head(model: PreTrainedModel) -> Iterator[None]:
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if head is None:
        yield
        return
    former = vars(head).get("forward")
    head.forward = partial(_in_float32, head.forward)
    try:
        yield
    finally:
        del head.forward
        if former is not None:
            head.forward = former


def _in_float32(forward: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return forward(hidden.float())
