"""Operations counted by hand on trees small enough to draw."""

from __future__ import annotations

from pathlib import Path

import torch

from bench.arithmetic_work import Pass, forward_operations, forward_pass, step_operations
from policy.attention.packing import pack
from policy.model.load import load_policy
from policy.model.tiny import make_tiny_model

PROMPTS = [[1, 2, 3], [1, 2, 4, 5]]  # the header is 1, 2
COMPLETIONS = [[7, 8, 0], [7, 9], [7, 0], [6]]


def test_each_generated_token_once_but_the_last_of_a_completion() -> None:
    # tokens: header 2, rests 1 and 2, then 2 and 1 of the first problem's, 1 and 0 of the second's
    # pairs: 1 + 2 | 3, completions 4 + 5 and 4 | 3 + 4, completion 5
    assert forward_pass(PROMPTS, COMPLETIONS, "plain") == Pass(tokens=9, pairs=31, predictions=8)


def test_equal_beginnings_once() -> None:
    # nodes 7, 7 8 | 7, and one prediction after each node and each prompt
    assert forward_pass(PROMPTS, COMPLETIONS, "distinct") == Pass(tokens=8, pairs=27, predictions=5)


def test_the_training_pass_computes_as_many_tokens_and_predictions() -> None:
    packed = pack(PROMPTS, COMPLETIONS, torch.device("cpu"))
    work = forward_pass(PROMPTS, COMPLETIONS, "distinct")
    assert (len(packed.tokens), len(packed.predicting)) == (work.tokens, work.predictions)


def test_operations_of_a_known_model(tmp_path: Path) -> None:
    model = load_policy(make_tiny_model(tmp_path / "tiny"), name="tiny", device="cpu").model
    # a layer: query and output 64 x 64, key and value 64 x 32, three of 64 x 48
    weights = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 48)
    vocabulary = model.config.get_text_config().vocab_size
    one = Pass(tokens=10, pairs=20, predictions=3)
    expected = 2 * weights * 10 + 4 * 2 * 4 * 16 * 20 + 2 * vocabulary * 64 * 3
    assert forward_operations(model, one) == expected
    assert step_operations(model, one, one) == 5 * expected
