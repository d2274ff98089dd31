"""Plain decoding against one forward pass a token, without any cache."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import pytest
import torch
from transformers import DynamicCache

from policy.model.load import Policy
from policy.model.tiny import ARCHITECTURES
from policy.sampling.completions import Completions
from policy.sampling.plain_decoding import decode_plainly, last_logits
from schemas.config import SamplingSettings
from tests.policy.sampling.distribution import distribution

PROMPTS = [[5, 6, 7], [8, 9], [5, 6, 7], [4, 4]]  # two lengths, mixed
OWNER = [0, 0, 1, 1, 1, 2, 3]
SETTINGS = SamplingSettings(max_new_tokens=5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_row_gets_the_tokens_that_its_uniforms_give(
    architecture: str, tiny_policy: Callable[[str], Policy]
) -> None:
    policy = tiny_policy(architecture)
    generator = torch.Generator().manual_seed(0)
    uniforms = torch.rand(len(OWNER), 5, generator=generator, dtype=torch.float64)
    finished: list[int] = []
    batch = Completions(uniforms, policy.end_token_ids, SETTINGS, finished.append)
    with torch.inference_mode():
        decode_plainly(policy, PROMPTS, torch.tensor(OWNER), batch)
    token_ids, _ = batch.listed()
    assert sum(finished) == len(OWNER)
    for row, owner in enumerate(OWNER):
        expected: list[int] = []
        for uniform in uniforms[row].tolist():
            with torch.inference_mode():
                logits = policy.model(torch.tensor([[*PROMPTS[owner], *expected]])).logits[0, -1]
            cumulative = list(accumulate(distribution(logits.tolist(), SETTINGS)))
            expected.append(next(token for token, mass in enumerate(cumulative) if mass > uniform))
            if expected[-1] in policy.end_token_ids:
                break
        assert token_ids[row] == expected


def test_the_last_logits_of_a_model_that_computes_all_of_them() -> None:
    class Model:
        def forward(self, input_ids: torch.Tensor, past_key_values: object, use_cache: bool):  # type: ignore[no-untyped-def]
            raise NotImplementedError

        def __call__(self, **given: object) -> object:
            self.given = given
            return type("Output", (), {"logits": torch.arange(12.0).view(1, 3, 4)})

    model = Model()
    logits = last_logits(model, torch.tensor([[1, 2, 3]]), DynamicCache(), torch.tensor([[2]]))
    assert logits.tolist() == [[8.0, 9.0, 10.0, 11.0]]
    assert set(model.given) == {"input_ids", "past_key_values", "use_cache"}
