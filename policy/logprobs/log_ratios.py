"""The KL of a policy to its reference, on completions that the policy itself sampled.

This measures; the penalty in training is in `policy.learning.objective`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from policy.attention.prefix_tree import Tokens
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.model.passes import automatic_budget, plan_passes


@torch.inference_mode()
def completion_log_ratios(
    model: PreTrainedModel,
    reference: PreTrainedModel,
    prompts: Sequence[Tokens],
    completions: Sequence[Tokens],
    temperature: float,
) -> list[list[float]]:
    """log π(y|x) − log ρ(y|x) in nats of N completions of each of B prompts, as B lists of N.

    Both are taken at the temperature that y was sampled at: at another one the mean estimates no
    KL, and can be negative. With y sampled from π at that temperature, the mean estimates
    KL(π ‖ ρ) in nats per completion without bias (k1 of Schulman, "Approximating KL Divergence",
    2020). A single one may be negative.
    """
    logprobs = CompletionLogprobs(model)
    samples = len(completions) // len(prompts)
    sizes = logprobs.sizes(prompts, completions)
    ratios: list[list[float]] = []
    longest = max(map(len, prompts)) + max(map(len, completions))
    for part in plan_passes(sizes, range(len(prompts)), automatic_budget(model, longest)):
        some = [prompts[index] for index in part]
        theirs = list(completions[part[0] * samples : (part[-1] + 1) * samples])
        gap = logprobs(model, some, theirs, temperature).sum(-1)
        gap = gap - logprobs(reference, some, theirs, temperature).sum(-1)
        ratios += gap.view(len(part), samples).tolist()
    return ratios
