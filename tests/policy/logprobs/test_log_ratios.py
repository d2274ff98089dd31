"""Log-ratios of whole completions against a loop over single forward passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from policy.logprobs import log_ratios
from policy.logprobs.log_ratios import completion_log_ratios
from policy.model.load import load_policy
from tests.policy.logprobs.naive import one_by_one

PROMPTS = [[5, 6, 7, 8], [5, 6, 9]]
COMPLETIONS = [[3, 1], [4, 4, 1], [10], [3, 3, 3, 1]]


def test_they_are_differences_of_summed_log_probabilities(
    tiny_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy, reference = (
        load_policy(tiny_folder("llama"), name="tiny", device="cpu").model for _ in range(2)
    )
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(1.05)
        expected = [
            one_by_one(model, PROMPTS, COMPLETIONS).sum(dim=-1) for model in (policy, reference)
        ]
    ratios = (expected[0] - expected[1]).view(2, 2)
    assert ratios.abs().min() > 1e-3, "the policy differs"
    found = completion_log_ratios(policy, reference, PROMPTS, COMPLETIONS, 1.0)
    torch.testing.assert_close(torch.tensor(found), ratios, rtol=0, atol=1e-4)

    # one problem a pass gives the same
    monkeypatch.setattr(log_ratios, "automatic_budget", lambda model, longest: 1)
    apart = completion_log_ratios(policy, reference, PROMPTS, COMPLETIONS, 1.0)
    torch.testing.assert_close(torch.tensor(apart), ratios, rtol=0, atol=1e-4)


def test_a_policy_that_is_its_reference_has_ratios_of_0(
    tiny_folder: Callable[[str], Path],
) -> None:
    policy, reference = (
        load_policy(tiny_folder("qwen3"), name="tiny", device="cpu").model for _ in range(2)
    )
    assert completion_log_ratios(policy, reference, PROMPTS, COMPLETIONS, 1.0) == [[0.0, 0.0]] * 2
