"""Norms and gated layers in fewer passes over memory than their modules take.

Between large products a model mostly moves numbers. What is exchanged here gives the numbers of the
module that it stands in for, up to rounding, which is tried on each module before. Where products
are computed in bfloat16, a norm gives bfloat16 at once: otherwise each layer after it would cast
its output again.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOLERANCE = 1e-5


def faster_forward(module: nn.Module, dtype: torch.dtype) -> Any:
    """A function with the results of this module's `forward`; None where there is none."""
    made: Any = None
    if type(module).__name__.endswith("RMSNorm"):
        epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        weight = getattr(module, "weight", None)
        if isinstance(epsilon, float) and isinstance(weight, nn.Parameter):
            made = partial(_norm, module, epsilon, dtype)
            width = weight.shape[0]
    elif _is_gated(module):
        gated: Any = module
        made, width = partial(_gated, gated), gated.gate_proj.in_features
    return made if made is not None and _agrees(module, made, width) else None


def _is_gated(module: Any) -> bool:
    names = ("gate_proj", "up_proj", "down_proj")
    if not all(type(getattr(module, name, None)) is nn.Linear for name in names):
        return False
    return type(getattr(module, "act_fn", None)).__name__ in ("SiLU", "SiLUActivation")


def _agrees(module: nn.Module, made: Any, width: int) -> bool:
    """Whether both give the same for some rows of numbers of usual size."""
    kept = vars(module).get("_threeloops_agrees")
    if kept is None:
        parameter = next(module.parameters())
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            return False
        rows = torch.linspace(-2.0, 3.0, 2 * width).reshape(2, width)
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            found = made(rows).float()
            wanted = type(module).forward(module, rows)
        coarse = found.dtype != torch.float32 or made.args[-1] is torch.bfloat16
        allowed = 0.02 if coarse else TOLERANCE
        scale = float(wanted.abs().max()) or 1.0
        kept = bool((found - wanted).abs().max() <= allowed * scale)
        vars(module)["_threeloops_agrees"] = kept
    return bool(kept)


def _norm(module: Any, epsilon: float, dtype: torch.dtype, rows: Tensor) -> Tensor:
    if torch.is_grad_enabled() and (rows.requires_grad or module.weight.requires_grad):
        apply: Any = _RmsNorm.apply
        normed: Tensor = apply(rows, module.weight, epsilon, dtype)
        return normed
    return (rows * _scales(rows, epsilon)).mul_(module.weight).to(dtype)


def _scales(rows: Tensor, epsilon: float) -> Tensor:
    """1 / root mean square of each row, [..., 1]."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=torch.float32)
    return norms.square_().div_(rows.shape[-1]).add_(epsilon).rsqrt_()


class _RmsNorm(torch.autograd.Function):
    """rows · scale · weight, of which only the rows and their scales are kept."""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, weight: Tensor, epsilon: float, dtype: torch.dtype
    ) -> Tensor:
        scales = _scales(rows, epsilon)
        ctx.save_for_backward(rows, weight, scales)
        return (rows * scales).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # with n = rows · scale, y = n · weight:
        # d rows = scale · (d n − n · mean(n · d n)), where d n = d y · weight
        rows, weight, scales = ctx.saved_tensors
        gradient = gradients[0].float()
        normed = rows * scales
        of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = (gradient * normed).flatten(0, -2).sum(dim=0)
        weighted = gradient * weight
        share = torch.linalg.vecdot(weighted, normed).unsqueeze(-1) / rows.shape[-1]
        of_rows = weighted.sub_(normed.mul_(share)).mul_(scales)
        return of_rows, of_weight, None, None


def _gated(module: Any, rows: Tensor) -> Tensor:
    gate, up = module.gate_proj(rows), module.up_proj(rows)
    if torch.is_grad_enabled() and (gate.requires_grad or up.requires_grad):
        apply: Any = _Gate.apply
        return cast(Tensor, module.down_proj(apply(gate, up)))
    return cast(Tensor, module.down_proj(F.silu(gate, inplace=True).mul_(up)))


class _Gate(torch.autograd.Function):
    """silu(gate) · up, of which only the two are kept."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        gradient = gradients[0]
        of_up = F.silu(gate).mul_(gradient)
        backward: Any = torch.ops.aten.silu_backward
        return backward(gradient * up, gate), of_up
