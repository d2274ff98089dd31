"""Low-rank adapters: a small part that learns beside a frozen model, through peft.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021: each linear layer W becomes
W + (alpha / rank)·B·A, with A [rank, in] random and B [out, rank] zero, so that the adapted model
begins as the model itself. The output layer has no adapter.

The adapters sit inside the model, whose class stays the same. So all code that runs the model, the
fast paths too, runs it with its adapter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from schemas.errors import InputError

NAME = "default"


def add_adapter(model: PreTrainedModel, *, rank: int, alpha: float, seed: int) -> None:
    """Freeze the model and put an adapter into each of its linear layers, in place.

    The random half depends only on `seed`. It is made layer by layer in the order of their names,
    and on the CPU, so that it is the same on every device. Global random state is neither read nor
    changed. Raises InputError for a model without linear layers that peft knows.
    """
    import peft as untyped

    peft: Any = untyped
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        # GPT-2's layers hold their weights transposed
        fan_in_fan_out=any(type(module) is Conv1D for module in model.modules()),
    )
    try:
        with torch.random.fork_rng(devices=[]):
            peft.inject_adapter_in_model(config, model, NAME)
    except ValueError as error:
        raise InputError(
            f"peft cannot adapt {type(model).__name__}: {error}".splitlines()[0],
            "--adapter lora",
            "use --adapter none",
        ) from error
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, layer in sorted(_layers(model).items()):
            weight = layer.lora_A[NAME].weight
            random = torch.empty(weight.shape, dtype=torch.float32)
            nn.init.kaiming_uniform_(random, a=math.sqrt(5), generator=generator)
            weight.copy_(random)
    model.train(False)


def is_adapted(model: PreTrainedModel) -> bool:
    """Whether `add_adapter` has put an adapter into this model."""
    return bool(_layers(model))


@contextmanager
def without_adapter(model: PreTrainedModel) -> Iterator[None]:
    """Within the block, the model is bit for bit what it was before `add_adapter`.

    Only for passes without gradient: inside the block the adapter's `requires_grad` is off too.
    """
    layers = _layers(model).values()
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged_weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """The state of a plain model that computes the same as the adapted one, up to rounding.

    The model itself is not changed, because adding the product and subtracting it again would not
    be exact.
    """
    layers = _layers(model)
    merged = {}
    with torch.no_grad():
        for key, value in model.state_dict().items():
            owner, _, rest = key.rpartition(".base_layer.")
            if owner in layers:
                if rest == "weight":
                    value = value + layers[owner].get_delta_weight(NAME).to(value.dtype)
                merged[f"{owner}.{rest}"] = value
            elif f".{NAME}." not in key or ".lora_" not in key:
                merged[key] = value
    return merged


def _layers(model: PreTrainedModel) -> dict[str, Any]:
    """The adapted layers by name; empty for a model without an adapter."""
    return {
        name: module
        for name, module in model.named_modules()
        if hasattr(module, "lora_A") and hasattr(module, "base_layer")
    }
