"""Gradient checkpointing: layers that keep only their inputs and are run again when needed.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016: the forward pass of a layer is
repeated in the backward pass, which takes about a third more time and a fraction of the memory.

transformers' own switch works only in training mode, where dropout would be on and the policy that
is differentiated would not be the one that sampled. So the same layers are wrapped here instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from policy.attention.tree_attention import attending_as
from policy.model.packed import packing
from policy.model.precision import arithmetic_of
from schemas.errors import InputError


@contextmanager
def recomputing_layers(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, passes with gradient keep only the layers' inputs.

    Their backward pass may come after the block. Raises InputError for a model that has no layers
    of the library's kind.
    """
    layers = recomputable_layers(model)
    former = [vars(layer).get("forward") for layer in layers]
    for layer in layers:
        untyped: Any = layer
        untyped.forward = partial(_recomputed, model, layer.forward)
    try:
        yield
    finally:
        for layer, forward in zip(layers, former, strict=True):
            del layer.forward
            if forward is not None:
                untyped = layer
                untyped.forward = forward


def recomputable_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers that can be run again; InputError where there are none."""
    kind = GradientCheckpointingLayer
    layers: list[nn.Module] = [part for part in model.modules() if isinstance(part, kind)]
    if not layers:
        raise InputError(
            f"{type(model).__name__} has no layers that could be run again",
            "--gradient-checkpointing",
            "leave it out, and lower --max-tokens-per-pass",
        )
    return layers


@contextmanager
def _as_before(model: PreTrainedModel, attention: str, *, packed: bool) -> Iterator[None]:
    arithmetic = arithmetic_of(model)
    again = packing(model, arithmetic.packed, arithmetic.dtype) if packed else nullcontext()
    with attending_as(model, attention), again:
        yield


def _recomputed(
    model: PreTrainedModel, forward: Callable[..., Any], *arguments: Any, **named: Any
) -> Any:
    attention = model.config._attn_implementation
    assert attention is not None

    # the backward pass comes after the block, when the model may attend, and compute, in another
    # way again; what autocast does is kept by `checkpoint`
    packed = arithmetic_of(model).packed.active

    def contexts() -> tuple[Any, Any]:
        return nullcontext(), _as_before(model, attention, packed=packed)

    return checkpoint(
        forward,
        *arguments,
        use_reentrant=False,
        preserve_rng_state=False,  # nothing is random: there is no dropout
        context_fn=contexts,
        **named,
    )
