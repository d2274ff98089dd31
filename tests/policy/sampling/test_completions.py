"""A batch while it is sampled: which rows go on, and what each has in the end."""

from __future__ import annotations

import math

import pytest
import torch

from policy.sampling.completions import Completions
from schemas.config import SamplingSettings

END = 2
EVEN = torch.tensor([[0.25, 0.25, 0.5]]).log()  # tokens 0, 1 and the end


def completions(*uniforms: list[float], finished: list[int] | None = None) -> Completions:
    """Rows with these uniforms, one for each of at most T tokens."""
    told = [] if finished is None else finished
    matrix = torch.tensor(uniforms, dtype=torch.float64)
    return Completions(matrix, (END,), SamplingSettings(), told.append)


def test_a_row_goes_on_until_its_end_token_or_the_limit() -> None:
    finished: list[int] = []
    batch = completions([0.1, 0.3], [0.9, 0.0], finished=finished)
    rows, owner = torch.tensor([0, 1]), torch.tensor([0, 0])

    tokens, going_on = batch.sample_step(EVEN.clone(), owner, rows, 0)
    assert tokens.tolist() == [0, END]
    assert going_on.tolist() == [True, False]

    tokens, going_on = batch.sample_step(EVEN.clone(), owner[:1], rows[:1], 1)
    assert tokens.tolist() == [1]
    assert going_on.tolist() == [False], "two tokens are the limit"
    assert finished == [1, 1]

    token_ids, logprobs = batch.listed()
    assert token_ids == [[0, 1], [END]]
    quarter, half = math.log(0.25), math.log(0.5)
    assert logprobs[0] == pytest.approx([quarter, quarter])
    assert logprobs[1] == pytest.approx([half])


def test_each_row_samples_with_its_own_uniform_of_the_step() -> None:
    batch = completions([0.0, 0.9], [0.3, 0.0], [0.6, 0.3])
    # rows 1 and 2 are still there, in another order than they were made in
    tokens, _ = batch.sample_step(EVEN.clone(), torch.tensor([0, 0]), torch.tensor([2, 1]), 1)
    assert tokens.tolist() == [1, 0]
    assert batch.listed()[0] == [[], [0, 0], [0, 1]]
