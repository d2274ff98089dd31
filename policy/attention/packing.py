"""B prompts and their completions laid out as one row of tokens in which nothing is repeated.

It does not attend (see `policy.attention.tree_attention`) and runs no model.

    [ header | stem of problem 1 … stem of problem B | tail 1 … tail B·N ]

The header is what all prompts begin with (a few-shot chat prompt is nearly all header), a stem the
rest of a prompt and whatever several of its completions share, a tail what one completion has of
its own. A tail sees the header, the part of its stem that leads to it, and itself. The last token
of a completion predicts nothing and is left out; tokens predicted after the same tokens, such as
the first ones of all N completions, are predicted at one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

from policy.attention.prefix_tree import Stem, Tokens, grow_stem


@dataclass(frozen=True)
class Branches:
    """G branches of a row, as a padded block and back.

    `block` [G, L] holds places among the branches' tokens, 0 where a branch is shorter; `back`
    [sum of lengths] holds, for each token, its place in the flattened block.
    """

    block: Tensor
    back: Tensor

    @property
    def tokens(self) -> int:
        """How many tokens the branches have together."""
        return len(self.back)


@dataclass(frozen=True)
class Tree:
    """How a packed row attends: a header, B stems of at most S tokens, B·N tails of at most L.

    A bias is 0 where a token sees another and −inf where it does not. `within_stems` [B, 1, S, 1,
    S], `to_stems` [B, N, 1, 1, S] (the same for all tokens of a tail) and `within_tails` [L, 1, L]
    broadcast to scores [K, B, N, tokens, G, keys]. `longest` is the number of tokens from the
    header to the end of the longest completion.
    """

    header: int
    stems: Branches
    tails: Branches
    within_stems: Tensor
    to_stems: Tensor
    within_tails: Tensor
    longest: int


@dataclass(frozen=True)
class Packing:
    """One packed row and where its completions' tokens are predicted.

    `tokens`, `positions` [T]: input ids, and places along each path. `predicting` [P]: the places
    of the row whose hidden states predict a completion's token. `rows`, `targets` [M]: for each of
    the completions' M tokens, row-major, the index into `predicting` and the token.
    """

    tokens: Tensor
    positions: Tensor
    tree: Tree
    predicting: Tensor
    rows: Tensor
    targets: Tensor


def completion_mask(completions: Sequence[Tokens], device: torch.device) -> Tensor:
    """[B·N, T] booleans: true on the tokens of each completion, T being the longest's length."""
    lengths = torch.tensor([len(completion) for completion in completions])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).to(device)


def header_length(prompts: Sequence[Tokens]) -> int:
    """Length of the longest common prefix, leaving every prompt at least its last token."""
    shared = takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    return min(sum(1 for _ in shared), min(map(len, prompts)) - 1)


def pack(prompts: Sequence[Tokens], completions: Sequence[Tokens], device: torch.device) -> Packing:
    """Lay out B prompts and B·N completions (row-major, none empty) as one row."""
    samples = len(completions) // len(prompts)
    header = header_length(prompts)
    inputs = [completion[:-1] for completion in completions]
    stems = [
        grow_stem(prompt[header:], inputs[index * samples : (index + 1) * samples])
        for index, prompt in enumerate(prompts)
    ]
    tails = [tail for stem in stems for tail in stem.tails]

    tokens, positions = list(prompts[0][:header]), list(range(header))
    starts = []  # the place of each stem's first token
    for stem in stems:
        starts.append(len(tokens))
        tokens += stem.tokens
        positions += [header + depth for depth in stem.depths]
    places = []  # for each token of the completions, the place that predicts it
    for stem, start in zip(stems, starts, strict=True):
        for path, tail in zip(stem.paths, stem.tails, strict=True):
            places += [start + stem.prompt - 1, *(start + place for place in path)]
            places += range(len(tokens), len(tokens) + len(tail))
            first = header + stem.prompt + len(path)
            tokens += tail
            positions += range(first, first + len(tail))

    predicting = sorted(set(places))
    index_of = {place: index for index, place in enumerate(predicting)}
    targets = [token for completion in completions for token in completion]
    return Packing(
        tokens=torch.tensor(tokens, device=device),
        positions=torch.tensor(positions, device=device),
        tree=_tree(header, stems, tails, max(positions) + 1, device),
        predicting=torch.tensor(predicting, device=device),
        rows=torch.tensor([index_of[place] for place in places], device=device),
        targets=torch.tensor(targets, device=device),
    )


def _tree(
    header: int, stems: list[Stem], tails: list[list[int]], longest: int, device: torch.device
) -> Tree:
    widest = max(len(stem.tokens) for stem in stems)
    length = max(map(len, tails))
    # padding sees itself, so that its softmax is a number
    within = torch.eye(widest, dtype=torch.bool).repeat(len(stems), 1, 1)
    leading = torch.zeros(len(stems), len(stems[0].paths), widest, dtype=torch.bool)
    for index, stem in enumerate(stems):
        for place, parent in enumerate(stem.parents):
            if parent >= 0:
                within[index, place] |= within[index, parent]
        for completion, path in enumerate(stem.paths):
            last = path[-1] if path else stem.prompt - 1
            leading[index, completion] = within[index, last]
    return Tree(
        header=header,
        stems=_branches([len(stem.tokens) for stem in stems], device),
        tails=_branches(list(map(len, tails)), device),
        within_stems=_bias(within[:, None, :, None], device),
        to_stems=_bias(leading[:, :, None, None], device),
        within_tails=_bias(torch.ones(length, length).tril().bool()[:, None], device),
        longest=longest,
    )


def _branches(lengths: list[int], device: torch.device) -> Branches:
    size = torch.tensor(lengths)[:, None]
    steps = torch.arange(int(size.max()))
    present = steps < size
    starts = size.cumsum(dim=0) - size
    block = torch.where(present, starts + steps, 0)
    back = present.flatten().nonzero()[:, 0]
    return Branches(block.to(device), back.to(device))


def _bias(visible: Tensor, device: torch.device) -> Tensor:
    return torch.zeros(visible.shape).masked_fill(~visible, -torch.inf).to(device)
