"""Linear layers on a CPU whose weights lie as its kernels read them.

A product of few rows with a large matrix takes as long as reading the matrix. oneDNN reads it
faster when it was put into the order of its kernels before; torch otherwise does that, or goes
without, in each product. The products are the same up to rounding.

The copies belong to one model and are made again when its weights are others: torch counts changes
of a tensor. Its fused optimisers do not, so whoever updates weights with one says so
(`weights_changed`); besides, some numbers of each weight are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from policy.model.fused import faster_forward
from policy.model.passes import memory_bytes

SAMPLED = 64  # numbers of a weight that are compared
SHARE_OF_MEMORY = 1 / 12  # that the copies of one model may take
ROWS = 64  # of the products that the order is chosen for; it suits others as well


@dataclass
class _Packed:
    """A layer's weight in the order of the kernels, and what it was made of."""

    weight: Tensor
    plain: Tensor  # in the same type, in the usual order: the backward pass reads it
    place: int
    version: int
    sampled: Tensor


@dataclass
class PackedLinears:
    """The packed weights of one model, by the names of its layers."""

    kept: dict[str, _Packed] = field(default_factory=dict)
    active: bool = False

    def __deepcopy__(self, memo: dict[int, Any]) -> PackedLinears:
        """A copied model packs its weights by itself."""
        return PackedLinears()


@contextmanager
def packing(model: PreTrainedModel, packed: PackedLinears, dtype: torch.dtype) -> Iterator[None]:
    """Within the block, the model's linear layers compute in this type with packed weights.

    What is in none of the model's repeated layers stays in float32: the output layer and the norm
    before it. Layers of another kind than `nn.Linear` are left as they are, but for norms and gates
    (`policy.model.fused`), and so are all where packed weights cannot be used.
    """
    if packed.active or not _can_be_packed(model):
        yield
        return
    exchanged: list[tuple[Any, Any]] = []
    try:
        for name, layer in model.named_modules():
            # the output layer, and the norm before it, stay in float32
            repeated = any(part.isdigit() for part in name.split("."))
            of_layer = dtype if repeated else torch.float32
            if _packable(layer):
                forward = _Layer(packed, name, layer, of_layer)
            elif (forward := faster_forward(layer, of_layer)) is None:
                continue
            exchanged.append((layer, vars(layer).get("forward")))
            layer.forward = forward
        packed.active = True
        yield
    finally:
        packed.active = False
        for layer, former in exchanged:
            del layer.forward
            if former is not None:
                layer.forward = former


def weights_changed(parameters: Iterable[Tensor]) -> None:
    """Say that these were changed in a way that torch does not count."""
    torch.autograd.graph.increment_version(list(parameters))


def _can_be_packed(model: PreTrainedModel) -> bool:
    """Whether a model's layers are whole, on a CPU, and small enough to be there once more.

    That depends on the memory that the machine has, not on what is free, so that the same run on
    the same machine is always computed in the same way.
    """
    if model.device.type != "cpu" or not can_pack() or type(model).__name__.startswith("FSDP"):
        return False
    numbers = sum(layer.weight.numel() for layer in model.modules() if _packable(layer))
    return 4 * numbers <= SHARE_OF_MEMORY * memory_bytes(model)


@cache
def can_pack() -> bool:
    """Whether this build of torch multiplies with packed weights, and rightly."""
    operations: Any = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    rows, weight = torch.ones(3, 16), torch.arange(128.0).view(8, 16) / 128
    try:
        packed = operations._reorder_linear_weight(weight, ROWS)
        found = operations._linear_pointwise(rows, packed, None, "none", [], "")
    except (AttributeError, NotImplementedError, RuntimeError):
        return False
    return torch.allclose(found, weight.sum(dim=1).expand(3, 8))


def _packable(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """A linear layer whose weights are float32."""
    return type(layer) is nn.Linear and layer.weight.dtype == torch.float32


def _up_to_date(packed: PackedLinears, name: str, layer: nn.Linear, dtype: torch.dtype) -> _Packed:
    weight = layer.weight.detach()
    # one more than a share of all, so that the numbers are not of one column
    sampled = weight.reshape(-1)[:: weight.numel() // SAMPLED + 1]
    kept = packed.kept.get(name)
    if (
        kept is None
        or kept.plain.dtype != dtype
        or kept.place != weight.data_ptr()
        or kept.version != weight._version
        or not torch.equal(kept.sampled, sampled)
    ):
        packed.kept.pop(name, None)  # so that there is never a third copy
        operations: Any = torch.ops.mkldnn
        with torch.inference_mode(False), torch.no_grad():
            plain = weight.to(dtype)
            kept = packed.kept[name] = _Packed(
                operations._reorder_linear_weight(plain, ROWS),
                plain,
                weight.data_ptr(),
                weight._version,
                sampled.clone(),
            )
    return kept


class _Layer:
    """The forward of a linear layer, [..., in] to [..., out]; its weight is packed when needed."""

    def __init__(
        self, packed: PackedLinears, name: str, layer: nn.Linear, dtype: torch.dtype
    ) -> None:
        self._packed, self._name, self._layer, self._dtype = packed, name, layer, dtype
        self._weight: _Packed | None = None

    def __call__(self, rows: Tensor) -> Tensor:
        if self._weight is None:
            self._weight = _up_to_date(self._packed, self._name, self._layer, self._dtype)
        layer = self._layer
        if torch.is_grad_enabled() and (rows.requires_grad or layer.weight.requires_grad):
            apply: Any = _Product.apply
            product: Tensor = apply(rows, layer.weight, layer.bias, self._weight, self._dtype)
            return product
        return _product(rows.to(self._dtype), self._weight, layer.bias)


def _product(rows: Tensor, packed: _Packed, bias: Tensor | None) -> Tensor:
    if not rows.numel():
        return F.linear(rows, packed.plain)
    operations: Any = torch.ops.mkldnn
    coarse = None if bias is None else bias.to(rows.dtype)
    product: Tensor = operations._linear_pointwise(rows, packed.weight, coarse, "none", [], "")
    return product


class _Product(torch.autograd.Function):
    """rows · weightᵀ + bias; gradients are products in the type of the rows, kept as float32."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        packed: _Packed,
        dtype: torch.dtype,
    ) -> Tensor:
        coarse = rows.to(dtype)
        ctx.save_for_backward(coarse)
        ctx.plain, ctx.of_rows = packed.plain, rows.dtype
        return _product(coarse, packed, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (rows,) = ctx.saved_tensors
        gradient = gradients[0]
        flat = gradient.reshape(-1, gradient.shape[-1])
        of_rows, of_weight, of_bias = ctx.needs_input_grad[:3]
        return (
            (gradient @ ctx.plain).to(ctx.of_rows) if of_rows else None,
            (flat.T @ rows.reshape(-1, rows.shape[-1])).float() if of_weight else None,
            flat.float().sum(dim=0) if of_bias else None,
            None,
            None,
        )
