"""How precisely a model computes: in float32 on a CPU, mostly in bfloat16 on a GPU.

Weights, their gradients and the optimiser's moments are float32 everywhere. In bfloat16 the small
updates of learning would round to zero.

On a GPU, autocast computes matrix products in bfloat16 from the float32 weights. The alternative is
a bfloat16 copy of the model that is synchronised after each step. Autocast was chosen because
sampling, the pass that is differentiated and the reference then run the same modules through the
same casts. So the log-probabilities that the sampler records are those of the policy that learns,
up to the order of sums in bfloat16, and no copy can be out of date. A copy would save the casts;
but a call of the sampler casts each weight only once and keeps the result until it ends.

The output layer and the softmax stay in float32. bfloat16 has 8 bits: it would move a logit of 20
by up to 0.06, and the log-probability of a token with it. Many steps of learning move it less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

FLOAT32_GAP, HALF_GAP = 1e-3, 0.1  # nats a token


def compute_dtype(device: torch.device) -> torch.dtype:
    """The type of matrix products: bfloat16 on a GPU that supports it, float32 elsewhere.

    A CPU without special instructions is several times slower in bfloat16.
    """
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float32


def largest_rounding_gap(device: torch.device) -> float:
    """The largest mean difference between two passes' log-probabilities that rounding explains.

    In nats a token. Measured: below 1e-5 in float32, 0.02 in bfloat16. One update of usual size
    moves a token's log-probability by more than the limit for float32.
    """
    return FLOAT32_GAP if compute_dtype(device) == torch.float32 else HALF_GAP


def rounding_gap_of(dtype: str) -> float:
    """As `largest_rounding_gap`, of a server by what it says it computes in; else of float32."""
    return HALF_GAP if dtype in ("bfloat16", "float16") else FLOAT32_GAP


@contextmanager
def computing(model: PreTrainedModel, *, keep_casts: bool = False) -> Iterator[None]:
    """Within the block, the model computes in the precision that suits its device.

    With `keep_casts` the block has no gradient and keeps the bfloat16 version of each weight until
    its end. A pass with gradient must not use it: a version that was cast without gradient would
    leave the weight out of the backward pass.
    """
    dtype = compute_dtype(model.device)
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
