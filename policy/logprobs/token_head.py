"""Log-probabilities of chosen tokens from hidden states, with little memory."""

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
    row. Logits are divided by the temperature. Differentiable once in hidden, weight and bias. With
    a gradient, P × V numbers are kept, once instead of twice; without one, none.
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
        # With a gradient all rows of logits are kept, else only one chunk at a time.
        keep = any(ctx.needs_input_grad)
        size = len(hidden) if keep else min(CHUNK, len(hidden))
        buffer = hidden.new_empty(size, len(weight))  # logits, then exp(logits − largest)
        largest, sums = hidden.new_empty(2, len(hidden))
        values = hidden.new_empty(len(rows))
        for start in range(0, len(hidden), CHUNK):
            part = slice(start, min(start + CHUNK, len(hidden)))
            place = part if keep else slice(0, part.stop - start)
            # logits of this chunk, written into the buffer
            logits = torch.mm(hidden[part], weight.T, out=buffer[place])
            if bias is not None:
                logits += bias
            if temperature != 1.0:
                logits /= temperature
            # read the targets' logits before they are overwritten by exponentials
            mine = ((rows >= start) & (rows < part.stop)).nonzero()[:, 0]
            values[mine] = logits[rows[mine] - start, targets[mine]]
            # log Σ exp(logit) = largest + log Σ exp(logit − largest)
            torch.amax(logits, dim=-1, out=largest[part])
            torch.sum(logits.sub_(largest[part, None]).exp_(), dim=-1, out=sums[part])
        if keep:
            ctx.save_for_backward(hidden, weight, rows, targets)
            ctx.exponentials, ctx.sums, ctx.temperature = buffer, sums, temperature
        logprobs: Tensor = values - (largest + sums.log())[rows]
        return logprobs

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """d logits = Σ over targets of gradient · (one-hot − softmax) / temperature."""
        hidden, weight, rows, targets = ctx.saved_tensors
        gradient = gradients[0] / ctx.temperature
        per_row = gradient.new_zeros(len(hidden)).index_add_(0, rows, gradient)
        # the same token may be predicted from a row several times: add up before scattering
        places, inverse = (rows * len(weight) + targets).unique(return_inverse=True)
        per_place = gradient.new_zeros(len(places)).index_add_(0, inverse, gradient)
        logits_gradient = ctx.exponentials.mul_((-per_row / ctx.sums)[:, None])
        logits_gradient.view(-1)[places] += per_place
        del ctx.exponentials  # overwritten: there is no second backward
        return (
            logits_gradient @ weight if ctx.needs_input_grad[0] else None,
            logits_gradient.T @ hidden if ctx.needs_input_grad[1] else None,
            logits_gradient.sum(dim=0) if ctx.needs_input_grad[2] else None,
            None,
            None,
            None,
        )
