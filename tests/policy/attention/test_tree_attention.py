"""Attention over a packed row against the same attention written out token by token."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from policy.attention.packing import Packing, pack
from policy.attention.support import UnsupportedAttentionError
from policy.attention.tree_attention import tree_attention

HEADS, GROUP, WIDTH = 2, 3, 8  # heads of keys, query heads to each, width of a head
MODULE = nn.Identity()


def packing(seed: int, *, common: int = 3, problems: int = 3, samples: int = 4) -> Packing:
    """A row whose completions of two possible tokens share beginnings, or are equal."""
    rng = random.Random(seed)
    prefix = [9] * common
    prompts = [[*prefix, b, *(rng.randrange(2) for _ in range(b))] for b in range(problems)]
    completions = [
        [rng.randrange(2) for _ in range(rng.randint(1, 5))] for _ in range(problems * samples)
    ]
    return pack(prompts, completions, torch.device("cpu"))


def visible(packed: Packing) -> Tensor:
    """[T, T] booleans, written out: what each token of the row sees."""
    tree = packed.tree
    problems, samples = tree.to_prompt_suffixes.shape[:2]
    widest, longest = tree.within_prompt_suffixes.shape[2], tree.completion_suffixes.block.shape[1]

    def places(back: Tensor, first: int) -> dict[int, int]:
        """From places in the padded block to places in the row."""
        return {int(cell): first + index for index, cell in enumerate(back)}

    suffixes = places(tree.prompt_suffixes.back, tree.common_prefix)
    start = tree.common_prefix + tree.prompt_suffixes.tokens
    own = places(tree.completion_suffixes.back, start)
    seen = torch.zeros(len(packed.tokens), len(packed.tokens), dtype=torch.bool)
    seen[:, : tree.common_prefix] = True
    for place in range(tree.common_prefix):
        seen[place, place + 1 :] = False
    for cell, place in suffixes.items():
        problem, token = divmod(cell, widest)
        for other in range(widest):
            if tree.within_prompt_suffixes[problem, 0, token, 0, other] == 0:
                seen[place, suffixes[problem * widest + other]] = True
    for cell, place in own.items():
        completion, token = divmod(cell, longest)
        problem, sample = divmod(completion, samples)
        for other in range(widest):
            if tree.to_prompt_suffixes[problem, sample, 0, 0, other] == 0:
                seen[place, suffixes[problem * widest + other]] = True
        for other in range(token + 1):
            seen[place, own[completion * longest + other]] = True
    assert problems * samples == len(tree.completion_suffixes.block)
    return seen


def random_row(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values."""
    generator = torch.Generator().manual_seed(tokens)
    shapes = [(1, heads, tokens, WIDTH) for heads in (HEADS * GROUP, HEADS, HEADS)]
    query, key, value = (
        torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in shapes
    )
    return query, key, value


def written_out(query: Tensor, key: Tensor, value: Tensor, seen: Tensor) -> Tensor:
    """Softmax attention [1, T, heads, D] with a T × T mask, head by head."""
    out = []
    for head in range(HEADS * GROUP):
        scores = query[0, head] @ key[0, head // GROUP].T * WIDTH**-0.5
        out.append(scores.masked_fill(~seen, -torch.inf).softmax(dim=-1) @ value[0, head // GROUP])
    return torch.stack(out, dim=1)[None]


@pytest.mark.parametrize("common", [3, 0])
@pytest.mark.parametrize("seed", range(4))
def test_outputs_and_gradients_are_those_of_attention_with_a_mask(seed: int, common: int) -> None:
    packed = packing(seed, common=common)
    row = random_row(len(packed.tokens))
    got, _ = tree_attention(MODULE, *row, None, tree=packed.tree)
    expected = written_out(*row, visible(packed))
    torch.testing.assert_close(got, expected)
    upstream = torch.randn(got.shape, dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad(got, row, upstream),
        torch.autograd.grad(expected, row, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_completions_of_one_token_leave_only_prompts_in_the_row() -> None:
    packed = pack([[1, 2], [1, 3, 4]], [[5], [6], [7], [8]], torch.device("cpu"))
    assert packed.tree.completion_suffixes.tokens == 0
    row = random_row(len(packed.tokens))
    got, _ = tree_attention(MODULE, *row, None, tree=packed.tree)
    # 1 | 2 | 3 4: the prompts see the common prefix and themselves
    seen = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]).bool()
    torch.testing.assert_close(got, written_out(*row, seen))


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"tree": None}, "Identity does not pass the tree on"),
        ({"softcap": 50.0}, "attention with softcap"),
        ({"is_causal": False}, "attention with is_causal"),
        ({"dropout": 0.1}, "attention with dropout"),
        ({"attention_mask": torch.ones(1)}, "attention with attention_mask"),
        ({"sliding_window": 2}, "it attends to the last 2 tokens only"),
    ],
)
def test_what_it_cannot_compute_is_refused(asked: dict[str, Any], reason: str) -> None:
    packed = packing(0)
    row = random_row(len(packed.tokens))
    arguments: dict[str, Any] = {"attention_mask": None, "tree": packed.tree, **asked}
    with pytest.raises(UnsupportedAttentionError, match=reason):
        tree_attention(MODULE, *row, **arguments)


def test_a_window_as_long_as_the_longest_path_changes_nothing() -> None:
    packed = packing(1)
    row = random_row(len(packed.tokens))
    wide = packed.tree.longest
    got, _ = tree_attention(MODULE, *row, None, tree=packed.tree, sliding_window=wide)
    torch.testing.assert_close(got, written_out(*row, visible(packed)))
