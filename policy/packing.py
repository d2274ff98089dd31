"""B prompts and their completions laid out as one row of tokens in which nothing is repeated.

It does not attend (see `policy.tree_attention`) and runs no model.

    [ header | rest of prompt 1 … rest of prompt B | completion 1 … completion B·N ]

The header is what all prompts begin with (a few-shot chat prompt is nearly all header). A branch
sees the header, its own prompt and itself. The last token of a completion predicts nothing and is
left out; its first token is predicted at the last position of its prompt, once for all N.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

Tokens = Sequence[int]


@dataclass(frozen=True)
class Branches:
    """G branches of a row, as a padded block and back.

    `block` [G, L] holds positions among the branches' tokens, 0 where `present` [G, L] is false;
    `back` [sum of lengths] holds, for each token, its place in the flattened block.
    """

    block: Tensor
    present: Tensor
    back: Tensor

    @property
    def tokens(self) -> int:
        """How many tokens the branches have together."""
        return len(self.back)


@dataclass(frozen=True)
class Tree:
    """How a packed row attends: header length, prompts (B branches), completions (B·N branches).

    `longest` is the number of tokens of the longest path from the header to a completion's end.
    """

    header: int
    prompts: Branches
    completions: Branches
    longest: int


@dataclass(frozen=True)
class Packing:
    """One packed row and where its completions' tokens are predicted.

    `tokens`, `positions` [T]: input ids and positions along each branch. `predicting` [P]: the
    positions of the row whose hidden states predict a completion's token. `rows`, `targets` [M]:
    for each of the completions' M tokens, row-major, the index into `predicting` and the token.
    """

    tokens: Tensor
    positions: Tensor
    tree: Tree
    predicting: Tensor
    rows: Tensor
    targets: Tensor


def header_length(prompts: Sequence[Tokens]) -> int:
    """Length of the longest common prefix, leaving every prompt at least its last token."""
    shared = takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    return min(sum(1 for _ in shared), *map(_last, prompts))


def packed_size(prompt: Tokens, completions: Sequence[Tokens], header: int) -> int:
    """Tokens that one problem adds to a row whose header is `header` tokens long."""
    return len(prompt) - header + sum(map(_last, completions))


def pack(prompts: Sequence[Tokens], completions: Sequence[Tokens], device: torch.device) -> Packing:
    """Lay out B prompts and B·N completions (row-major, none empty) as one row."""
    samples = len(completions) // len(prompts)
    header = header_length(prompts)
    rests = [list(prompt[header:]) for prompt in prompts]
    inputs = [list(completion[:-1]) for completion in completions]

    tokens = list(prompts[0][:header])
    positions = list(range(header))
    for rest in rests:
        tokens += rest
        positions += range(header, header + len(rest))
    completions_start = len(tokens)
    for index, kept in enumerate(inputs):
        tokens += kept
        start = len(prompts[index // samples])
        positions += range(start, start + len(kept))

    ends, end = [], header
    for rest in rests:
        end += len(rest)
        ends.append(end - 1)
    rows, following = [], len(prompts)
    for index, kept in enumerate(inputs):
        rows += [index // samples, *range(following, following + len(kept))]
        following += len(kept)
    targets = [token for completion in completions for token in completion]

    def tensor(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    tree = Tree(
        header=header,
        prompts=_branches([len(rest) for rest in rests], device),
        completions=_branches([len(kept) for kept in inputs], device),
        longest=max(positions) + 1,
    )
    return Packing(
        tokens=tensor(tokens),
        positions=tensor(positions),
        tree=tree,
        predicting=tensor([*ends, *range(completions_start, len(tokens))]),
        rows=tensor(rows),
        targets=tensor(targets),
    )


def completion_mask(completions: Sequence[Tokens], device: torch.device) -> Tensor:
    """[B·N, T] booleans: true on the tokens of each completion, T being the longest's length."""
    lengths = torch.tensor([len(completion) for completion in completions])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).to(device)


def _branches(lengths: list[int], device: torch.device) -> Branches:
    size = torch.tensor(lengths)[:, None]
    steps = torch.arange(max(lengths))
    present = steps < size
    starts = size.cumsum(dim=0) - size
    block = torch.where(present, starts + steps, 0)
    back = present.flatten().nonzero()[:, 0]
    return Branches(block.to(device), present.to(device), back.to(device))


def _last(tokens: Tokens) -> int:
    return len(tokens) - 1
