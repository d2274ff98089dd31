"""Decoding with the model's own attention and cache: slow, and right for any decoder-only model.

Prompts share nothing and nothing is padded, so no attention mask is needed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from policy.model.load import Policy
from policy.sampling.completions import Completions


def decode_plainly(
    policy: Policy, prompts: Sequence[Sequence[int]], owner: Tensor, completions: Completions
) -> None:
    """Fill `completions`, R rows, of which row r completes `prompts[owner[r]]` (`owner` ascending).

    Prompts of equal length run together; each is computed once and its cache then repeated.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=owner.device)
    for length in torch.unique(lengths).tolist():
        chosen = (lengths == length).nonzero()[:, 0]
        rows = (lengths[owner] == length).nonzero()[:, 0]
        ids = torch.tensor([prompts[i] for i in chosen.tolist()], device=owner.device)
        _decode_equal_lengths(
            policy, ids, torch.searchsorted(chosen, owner[rows]), rows, completions
        )


def _decode_equal_lengths(
    policy: Policy, ids: Tensor, owner: Tensor, rows: Tensor, completions: Completions
) -> None:
    from transformers import DynamicCache

    cache: Any = DynamicCache(config=policy.model.config)
    logits = last_logits(policy.model, ids, cache)
    length = ids.shape[1]
    for step in range(completions.limit):
        tokens, going_on = completions.sample_step(logits, owner, rows, step)
        if not going_on.any():
            return
        # from the second step on, every row has a distribution of its own
        cache.reorder_cache(owner[going_on])
        rows, tokens = rows[going_on], tokens[going_on]
        owner = torch.arange(len(rows), device=rows.device)
        positions = torch.full_like(tokens, length + step)[:, None]
        logits = last_logits(policy.model, tokens[:, None], cache, positions)


def last_logits(model: Any, ids: Tensor, cache: Any, position_ids: Tensor | None = None) -> Tensor:
    """The logits [rows, V] after the last token of `ids` [rows, length]."""
    options: dict[str, Any] = {}
    accepted = inspect.signature(model.forward).parameters
    if "logits_to_keep" in accepted:
        options["logits_to_keep"] = 1
    if position_ids is not None and "position_ids" in accepted:
        options["position_ids"] = position_ids
    output = model(input_ids=ids, past_key_values=cache, use_cache=True, **options)
    logits: Tensor = output.logits[:, -1]
    return logits
