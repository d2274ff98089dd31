"""Log-probabilities of chosen tokens from hidden states, without keeping the vocabulary twice.

It knows neither models nor completions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 256  # rows of logits worked on at once


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rows: Tensor,
    targets: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """[M] log-probabilities in nats of `targets` [M], each predicted by `hidden[rows]`.

    `hidden` is [P, width], `weight` [V, width], `bias` [V] or None. Several targets may share a
    row. Logits are divided by the temperature. Differentiable once in hidden, weight and bias; the
    P × V logits are kept once for that, and not at all without gradient.
    """
    apply: Any = _TokenLogprobs.apply
    values: Tensor = apply(hidden, weight, bias, rows, targets, temperature)
    return values


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Tensor,
        targets: Tensor,
        temperature: float,
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        normalisers, kept = [], []
        values = hidden.new_empty(len(rows), dtype=torch.promote_types(hidden.dtype, torch.float32))
        for start in range(0, len(hidden), CHUNK):
            logits = hidden[start : start + CHUNK] @ weight.T
            if bias is not None:
                logits += bias
            logits = logits.to(values.dtype).div_(temperature)
            normaliser = logits.logsumexp(dim=-1)
            mine = ((rows >= start) & (rows < start + CHUNK)).nonzero()[:, 0]
            local = rows[mine] - start
            values[mine] = logits[local, targets[mine]] - normaliser[local]
            if keep:
                kept.append(logits)
                normalisers.append(normaliser)
        ctx.save_for_backward(hidden, weight, rows, targets)
        ctx.kept, ctx.normalisers, ctx.temperature = kept, normalisers, temperature
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """d logits = Σ over targets of gradient · (one-hot − softmax) / temperature."""
        hidden, weight, rows, targets = ctx.saved_tensors
        gradient = gradients[0] / ctx.temperature
        # the same token may be predicted from a row several times: add up before scattering
        places, inverse = (rows * len(weight) + targets).unique(return_inverse=True)
        per_place = gradient.new_zeros(len(places)).index_add_(0, inverse, gradient)
        per_row = gradient.new_zeros(len(hidden)).index_add_(0, rows, gradient)
        hidden_gradient = torch.empty_like(hidden)
        weight_gradient = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        bias_gradient = weight.new_zeros(len(weight)) if ctx.needs_input_grad[2] else None
        place_rows, place_tokens = places // len(weight), places % len(weight)
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, start + CHUNK)
            logits = ctx.kept.pop(0)
            logits.sub_(ctx.normalisers.pop(0)[:, None]).exp_().mul_(-per_row[part, None])
            mine = ((place_rows >= start) & (place_rows < start + CHUNK)).nonzero()[:, 0]
            logits[place_rows[mine] - start, place_tokens[mine]] += per_place[mine]
            logits = logits.to(weight.dtype)
            hidden_gradient[part] = logits @ weight
            if weight_gradient is not None:
                weight_gradient.addmm_(logits.T, hidden[part])
            if bias_gradient is not None:
                bias_gradient += logits.sum(dim=0)
        return hidden_gradient, weight_gradient, bias_gradient, None, None, None
