"""Tokens sampled from logits by the inverse of the cumulative distribution.

Each token takes one uniform number, which the caller passes in; there is no random state here.
"""

from __future__ import annotations

import torch
from torch import Tensor

from schemas.config import SamplingSettings
from schemas.errors import InputError

BLOCK = 256  # vocabulary entries summed together; √V is best and this is near it for any model
CHUNK_BYTES = 2**20  # of exponentials held at a time, so that they stay in a core's cache


class NonFiniteLogitsError(InputError):
    """The model's logits are not finite numbers, so no token can be sampled from them."""


def sample_tokens(
    logits: Tensor, owner: Tensor, uniforms: Tensor, settings: SamplingSettings
) -> tuple[Tensor, Tensor]:
    """S tokens and their log-probabilities (nats, float64) from D distributions.

    `logits` [D, V] may be overwritten; `owner` [S], ascending, says which distribution each token
    is sampled from; `uniforms` [S], float64 in [0, 1). Token i is the first whose cumulative
    probability exceeds `uniforms[i]`. The log-probability is under the distribution sampled from:
    after temperature, top-k and top-p, renormalised. At temperature 0 that is a point mass on the
    most likely token, hence 0 nats.

    Raises NonFiniteLogitsError where logits are not finite, as those of a model that diverged.
    """
    if settings.temperature == 0:
        _check_finite(logits.amax(dim=-1))
        return logits.argmax(dim=-1)[owner], torch.zeros_like(uniforms)
    # a few distributions at a time; since `owner` ascends, their tokens lie together
    rows = max(1, CHUNK_BYTES // (logits.shape[-1] * logits.element_size()))
    bounds = torch.arange(0, logits.shape[0] + rows, rows, device=owner.device)
    splits = torch.searchsorted(owner, bounds).tolist()
    sampled = [
        _sample_chunk(_cut(part, settings), owner[first:last] - start, uniforms[first:last])
        for start, part, first, last in zip(
            range(0, logits.shape[0], rows),
            torch.split(logits, rows),
            splits,
            splits[1:],
            strict=False,
        )
    ]
    tokens, logprobs = zip(*sampled, strict=True)
    return torch.cat(tokens), torch.cat(logprobs)


def _cut(logits: Tensor, settings: SamplingSettings) -> Tensor:
    """Logits after temperature, then top-k, then top-p, in float32; in place where possible.

    Top-k keeps every token that is as likely as the k-th. Top-p keeps the most likely tokens
    up to and including the one with which their probability reaches p, in the order of the
    vocabulary among equals (Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020).
    """
    logits = logits.float()
    if settings.temperature != 1:
        logits = logits.div_(settings.temperature)
    if 0 < settings.top_k < logits.shape[-1]:
        least = logits.topk(settings.top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill_(logits < least, float("-inf"))
    if settings.top_p < 1:
        ranked, order = logits.sort(dim=-1, descending=True, stable=True)
        mass = ranked.softmax(dim=-1, dtype=torch.float64)
        reached_before = mass.cumsum(dim=-1) - mass >= settings.top_p
        dropped = torch.zeros_like(reached_before).scatter_(-1, order, reached_before)
        logits = logits.masked_fill_(dropped, float("-inf"))
    return logits


def _sample_chunk(logits: Tensor, owner: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """`sample_tokens` for a few rows of finished logits: find the block, then the token in it."""
    # Weights exp(logit − highest), not divided by their sum, in blocks of the vocabulary; the last
    # block is filled up with zeros. The cumulative mass is computed at the ends of blocks only,
    # because cumulative sums over a whole vocabulary are slow.
    rows, vocabulary = logits.shape
    blocks = -(-vocabulary // BLOCK)
    highest = logits.amax(dim=-1, keepdim=True)
    weights = logits.new_zeros(rows, blocks * BLOCK)
    torch.sub(logits, highest, out=weights[:, :vocabulary]).exp_()
    weights = weights.view(rows, blocks, BLOCK)
    mass = weights.sum(dim=-1).double().cumsum(dim=-1)
    total = mass[:, -1]
    _check_finite(total)

    # A token's target is the mass uniform × total. Its block is the first that ends above it.
    mass, total = mass[owner], total[owner]
    target = _below(uniforms * total, total)
    block = torch.searchsorted(mass, target[:, None], right=True)

    # Within the block, do the same with single tokens and what is left of the target.
    before = torch.where(block > 0, mass.gather(1, (block - 1).clamp(min=0)), 0.0)
    inside = weights[owner, block[:, 0]].double().cumsum(dim=-1)
    rest = _below(target - before[:, 0], inside[:, -1])
    token = block[:, 0] * BLOCK + torch.searchsorted(inside, rest[:, None], right=True)[:, 0]

    # log p = logit − highest − log Σ weights; rounding must not make a probability exceed 1
    height = (logits[owner, token] - highest[owner, 0]).double()
    return token, (height - total.log()).clamp(max=0.0)


def _below(value: Tensor, limit: Tensor) -> Tensor:
    """`value`, or the number just below `limit` where rounding has reached it."""
    return torch.minimum(value, torch.nextafter(limit, torch.zeros_like(limit)))


def _check_finite(values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteLogitsError(
            "the model's logits are not finite numbers, so no token can be sampled from them",
            remedy="check the weights; learning with a high learning rate can destroy them",
        )
