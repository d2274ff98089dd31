"""How far a device's log-probabilities are from those of float32 on a CPU, in nats a token.

The same completions, sampled on the device: as its sampler recorded them, as its learner computes
them again, and as the model's own forward pass gives them in float32 on the CPU, without any of our
shared computation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bench.process import Record, answer
from bench.workload import load, problems, prompts, settings
from policy.attention.packing import completion_mask
from policy.logprobs.completion_logprobs import CompletionLogprobs
from policy.logprobs.plain import plain_logprobs
from policy.sampling.sample import sample


def measure(
    folder: str, problem_count: int, samples: int, new_tokens: int, seed: int, device: str = "cpu"
) -> Record:
    """The mean and the largest difference, of the sampler and of the learner."""
    policy = load(folder, device)
    asked = prompts(policy, problems(problem_count))
    drawn = sample(policy, asked, samples=samples, settings=settings(new_tokens), seed=seed)
    with torch.no_grad():
        learned = CompletionLogprobs(policy.model)(policy.model, asked, drawn.token_ids, 1.0)
        exact = plain_logprobs(load(folder, "cpu").model, asked, drawn.token_ids)
    mask = completion_mask(drawn.token_ids, exact.device)
    right = exact[mask].double()
    sampled = torch.tensor([value for row in drawn.logprobs for value in row], dtype=right.dtype)
    return {
        "tokens": len(right),
        **_differences("sampler", sampled - right),
        **_differences("learner", learned.cpu()[mask].double() - right),
    }


def _differences(side: str, values: Tensor) -> Record:
    sizes = values.abs()
    return {f"{side}_mean_nats": sizes.mean().item(), f"{side}_largest_nats": sizes.max().item()}


if __name__ == "__main__":
    answer(measure)
