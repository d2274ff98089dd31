"""Log-probabilities of completions, one right-padded row of the batch per completion.

This serves any decoder-only model through the model's own forward pass.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from policy.attention.packing import completion_mask
from policy.attention.prefix_tree import Tokens


def plain_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    temperature: float = 1.0,
) -> Tensor:
    """Token log-probabilities [B·N, T] in nats of the completions of B prompts, row-major.

    Zero where `completion_mask` is false. Differentiable.
    """
    device = model.device
    samples = len(completions) // len(prompts)
    rows = [
        [*prompts[index // samples], *completion] for index, completion in enumerate(completions)
    ]
    lengths = torch.tensor([len(row) for row in rows])
    starts = torch.tensor([len(prompts[index // samples]) for index in range(len(rows))])
    width = int(lengths.max())
    tokens = torch.tensor([[*row, *([0] * (width - len(row)))] for row in rows], device=device)

    inputs: dict[str, Any] = {
        "input_ids": tokens[:, :-1],
        "attention_mask": (torch.arange(width - 1) < lengths[:, None] - 1).long().to(device),
        "use_cache": False,
    }
    first = 0
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        first = int(starts.min()) - 1
        inputs["logits_to_keep"] = width - 1 - first
    logits = model(**inputs).logits

    mask = completion_mask(completions, device)
    places = (starts[:, None] - 1 + torch.arange(mask.shape[1])).clamp(max=width - 2).to(device)
    targets = tokens[:, 1:].gather(1, places)
    row_index = torch.arange(len(rows), device=device)[:, None]
    picked = logits[row_index, places - first]
    picked = picked.to(torch.promote_types(picked.dtype, torch.float32)) / temperature
    values: Tensor = picked.gather(2, targets[..., None])[..., 0] - picked.logsumexp(dim=-1)
    return values.masked_fill(~mask, 0.0)
