"""The fast path on the default model: the same numbers as the plain one."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from policy.learning.checkpoint import trainable
from policy.learning.recompute import recomputing_layers
from policy.logprobs.plain import plain_logprobs
from policy.logprobs.shared import shared_logprobs
from policy.model.adapter import add_adapter
from policy.model.load import load_policy
from policy.model.template import get_template

pytestmark = [pytest.mark.slow, pytest.mark.untraced]
PATHS = ((plain_logprobs, False), (shared_logprobs, False), (shared_logprobs, True))


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


def test_an_adapter_gives_the_same_gradients_packed_plain_and_recomputed(
    batch: tuple[Any, list[list[int]], list[list[int]]], default_folder: Path
) -> None:
    _, prompts, completions = batch
    model = load_policy(default_folder, name="default", device="cpu").model
    add_adapter(model, rank=4, alpha=8, seed=0)
    parameters = list(trainable(model).values())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01)
    values, gradients = [], []
    for path, recompute in PATHS:
        with recomputing_layers(model) if recompute else nullcontext():
            logprobs = path(model, prompts, completions)
        weights = torch.randn(logprobs.shape, generator=torch.Generator().manual_seed(0))
        gradients.append(torch.autograd.grad((logprobs * weights).sum(), parameters))
        values.append(logprobs.detach())
    for got, found in zip(values[1:], gradients[1:], strict=True):
        torch.testing.assert_close(got, values[0], rtol=0, atol=1e-4)
        for mine, expected in zip(found, gradients[0], strict=True):
            assert (mine - expected).norm() <= 1e-4 * expected.norm()
