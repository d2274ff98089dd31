"""Log-probabilities of tokens against log_softmax, with their gradients."""

from __future__ import annotations

import pytest
import torch

from policy.logprobs.token_head import token_logprobs


@pytest.mark.parametrize("chunk", [1, 2, 256])
def test_the_head_equals_log_softmax_with_its_gradients_at_any_chunk(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("policy.logprobs.token_head.CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = inputs = tuple(
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in ((3, 4), (7, 4), (7,))
    )
    rows = torch.tensor([0, 0, 2, 1, 0, 2])
    targets = torch.tensor([5, 5, 1, 0, 6, 1])  # a row predicts the same token twice
    got = token_logprobs(hidden, weight, bias, rows, targets, 0.7)
    expected = ((hidden @ weight.T + bias) / 0.7).log_softmax(dim=-1)[rows, targets]
    torch.testing.assert_close(got, expected)
    upstream = torch.randn(6, dtype=torch.float64, generator=generator)
    for mine, theirs in zip(
        torch.autograd.grad(got, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_without_a_bias_or_a_gradient_the_numbers_are_the_same() -> None:
    # two tokens: probabilities 1 : 3 at temperature 1, 1 : 9 at temperature 1/2
    hidden = torch.tensor([[1.0], [0.0]])
    weight = torch.tensor([[0.0], [torch.log(torch.tensor(3.0))]])
    rows, targets = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    for temperature, expected in ((1.0, [1 / 4, 3 / 4, 1 / 2]), (0.5, [1 / 10, 9 / 10, 1 / 2])):
        got = token_logprobs(hidden, weight, None, rows, targets, temperature)
        torch.testing.assert_close(got.exp(), torch.tensor(expected))
