"""How likely each token of a given answer is under a policy, and how many tokens are likelier."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from policy.model.precision import computing


@torch.inference_mode()
def token_ranks(
    model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int]
) -> list[tuple[float, int]]:
    """Log-probability in nats and rank (1 is the most likely) of each of the answer's T tokens."""
    tokens = torch.tensor([[*prompt, *answer]], device=model.device)
    with computing(model):
        logits = model(tokens).logits[0, len(prompt) - 1 : -1].float()
    chosen = torch.tensor(list(answer), device=model.device)[:, None]
    logprobs = logits.log_softmax(-1).gather(1, chosen)[:, 0]
    ranks = (logits > logits.gather(1, chosen)).sum(-1) + 1
    return [(float(lp), int(rank)) for lp, rank in zip(logprobs, ranks, strict=True)]
