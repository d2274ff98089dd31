"""The fast path on the default model: the same numbers as the plain one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from policy.load import load_policy
from policy.plain_logprobs import plain_logprobs
from policy.shared_logprobs import shared_logprobs
from policy.template import get_template

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def batch(default_folder: Path) -> tuple[Any, list[list[int]], list[list[int]]]:
    """The default model, two few-shot prompts, and three completions of each."""
    policy = load_policy(default_folder, name="default", device="cpu")
    template = get_template("few_shot_chat@1")
    prompts = template.encode(["What is 12 + 7?", "What is 4 × 11?"], policy.tokenizer)
    answers = ["Final: 19", "Final: 21", "12 + 7 is nineteen.", "Final: 44", "44", "Final: 44"]
    completions = [
        [*policy.tokenizer.encode(answer, add_special_tokens=False), policy.end_token_ids[0]]
        for answer in answers
    ]
    return policy.model, [list(prompt) for prompt in prompts], completions


def test_packed_numbers_and_gradients_equal_the_plain_ones_on_the_default_model(
    batch: tuple[Any, list[list[int]], list[list[int]]],
) -> None:
    model, prompts, completions = batch
    values, gradients = [], []
    for path in (shared_logprobs, plain_logprobs):
        model.zero_grad()
        logprobs = path(model, prompts, completions)
        weights = torch.randn(logprobs.shape, generator=torch.Generator().manual_seed(0))
        (logprobs * weights).sum().backward()
        values.append(logprobs.detach())
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-4)
    for name, expected in gradients[1].items():
        assert (gradients[0][name] - expected).norm() <= 1e-4 * expected.norm(), name
