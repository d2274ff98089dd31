"""Log-probabilities of completions under a model, one row of the batch per completion.

It does not sample, share prefixes (see `policy.packing`) or know what the numbers are for.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

Tokens = Sequence[int]


def completion_mask(completions: Sequence[Tokens], device: torch.device) -> Tensor:
    """[C, T] booleans: true on the tokens of each completion, T being the longest one's length."""
    lengths = torch.tensor([len(completion) for completion in completions], device=device)
    return torch.arange(int(lengths.max()), device=device) < lengths[:, None]


def plain_logprobs(
    model: PreTrainedModel,
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    temperature: float = 1.0,
) -> Tensor:
    """Token log-probabilities [C, T] in nats of B·N completions of B prompts, row-major.

    Right-padded rows through the model's own forward; works for any decoder-only model. Zero where
    `completion_mask` is false. Differentiable.
    """
    device = model.device
    samples = len(completions) // len(prompts)
    rows = [
        [*prompts[index // samples], *completion] for index, completion in enumerate(completions)
    ]
    starts = torch.tensor([len(prompts[index // samples]) for index in range(len(rows))])
    width = max(len(row) for row in rows) - 1
    tokens = torch.tensor([[*row, *([0] * (width + 1 - len(row)))] for row in rows], device=device)
    present = torch.arange(width) < torch.tensor([[len(row) - 1] for row in rows])

    inputs = {
        "input_ids": tokens[:, :-1],
        "attention_mask": present.long().to(device),
        "use_cache": False,
    }
    first = 0
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        first = int(starts.min()) - 1
        inputs["logits_to_keep"] = width - first
    logits = model(**inputs).logits.float() / temperature

    mask = completion_mask(completions, device)
    offsets = torch.arange(mask.shape[1])
    predicted_from = (starts[:, None] - 1 + offsets).clamp(max=width - 1).to(device)
    chosen = tokens[:, 1:].gather(1, predicted_from)
    row_index = torch.arange(len(rows), device=device)[:, None]
    picked = logits[row_index, predicted_from - first]
    values: Tensor = picked.gather(2, chosen[..., None])[..., 0] - picked.logsumexp(dim=-1)
    return values.masked_fill(~mask, 0.0)
