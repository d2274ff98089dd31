"""The rank and log-probability of each token, against sorting the whole vocabulary."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from policy.logprobs.ranks import token_ranks
from policy.model.load import Policy


@pytest.mark.parametrize("answer", [[5], [5, 6, 7, 8]])
def test_a_token_s_rank_is_its_place_among_all_tokens(
    answer: list[int], tiny_policy: Callable[[str], Policy]
) -> None:
    model, prompt = tiny_policy("llama").model, [9, 10, 11]
    found = token_ranks(model, prompt, answer)
    assert len(found) == len(answer)
    for place, (token, (logprob, rank)) in enumerate(zip(answer, found, strict=True)):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer[:place]]])).logits[0, -1]
        best_first = logits.argsort(descending=True).tolist()
        assert rank == best_first.index(token) + 1
        assert logprob == pytest.approx(float(logits.log_softmax(-1)[token]), abs=1e-5)


def test_the_most_likely_token_has_rank_1(tiny_policy: Callable[[str], Policy]) -> None:
    model, prompt = tiny_policy("llama").model, [9, 10]
    with torch.no_grad():
        best = int(model(torch.tensor([prompt])).logits[0, -1].argmax())
    ((_, rank),) = token_ranks(model, prompt, [best])
    assert rank == 1
