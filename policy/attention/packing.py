"""B prompts and their completions laid out as one row of tokens in which nothing is repeated.

    [ common prefix | prompt suffixes of problem 1 … B | completion suffixes 1 … B·N ]

`policy.attention.prefix_tree` says what the three parts are. A token of a completion suffix sees
the common prefix, the path through its prompt suffix that leads to it, and its own suffix. The last
token of a completion predicts nothing and is left out. Tokens that are predicted after the same
tokens, such as the first ones of all N completions, are predicted at one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from policy.attention.prefix_tree import (
    PromptSuffix,
    Tokens,
    build_prompt_suffix,
    common_prefix_length,
    few_distinct,
)


@dataclass(frozen=True)
class PaddedSuffixes:
    """G suffixes of a row, as a padded block and back.

    `block` [G, L] holds places among the suffixes' tokens, 0 where a suffix is shorter; `back`
    [sum of lengths] holds, for each token, its place in the flattened block.
    """

    block: Tensor
    back: Tensor

    @property
    def tokens(self) -> int:
        """How many tokens the suffixes have together."""
        return len(self.back)


@dataclass(frozen=True)
class PrefixKeys:
    """Each layer's keys and values [S, K, D] of a common prefix, by the layer's number."""

    layers: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Tree:
    """How a packed row attends: B prompt suffixes of at most S tokens, B·N others of at most L.

    `common_prefix` is the number of its tokens. A bias is 0 where a token sees another and −inf
    where it does not. `within_prompt_suffixes` [B, 1, S, 1, S], `to_prompt_suffixes` [B, N, 1, 1,
    S] (the same for all tokens of a completion suffix) and `within_completion_suffixes` [L, 1, L]
    broadcast to scores [K, B, N, tokens, G, keys]. `longest` is the number of tokens from the
    start of the common prefix to the end of the longest completion. Where the keys of the common
    prefix are `given`, the row begins after it, and `common_prefix` is 0.
    """

    common_prefix: int
    prompt_suffixes: PaddedSuffixes
    completion_suffixes: PaddedSuffixes
    within_prompt_suffixes: Tensor
    to_prompt_suffixes: Tensor
    within_completion_suffixes: Tensor
    longest: int
    given: PrefixKeys | None = None


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

    def after(self, prefix: PrefixKeys) -> Packing:
        """The row without its common prefix, whose keys are given."""
        first = self.tree.common_prefix
        return replace(
            self,
            tokens=self.tokens[first:],
            positions=self.positions[first:],
            predicting=self.predicting - first,
            tree=replace(self.tree, common_prefix=0, given=prefix),
        )


def completion_mask(completions: Sequence[Tokens], device: torch.device) -> Tensor:
    """[B·N, T] booleans: true on the tokens of each completion, T being the longest's length."""
    lengths = torch.tensor([len(completion) for completion in completions])
    return (torch.arange(int(lengths.max())) < lengths[:, None]).to(device)


def pack(prompts: Sequence[Tokens], completions: Sequence[Tokens], device: torch.device) -> Packing:
    """Lay out B prompts and B·N completions (row-major, none empty) as one row."""
    # Split every problem into the three parts. A completion's last token is no input: nothing is
    # predicted after it.
    samples = len(completions) // len(prompts)
    common = common_prefix_length(prompts)
    inputs = [completion[:-1] for completion in completions]
    of_problems = [inputs[first : first + samples] for first in range(0, len(inputs), samples)]
    whole = all(map(few_distinct, of_problems))
    prompt_suffixes = [
        build_prompt_suffix(prompt[common:], own, whole=whole)
        for prompt, own in zip(prompts, of_problems, strict=True)
    ]
    completion_suffixes = [own for suffix in prompt_suffixes for own in suffix.completion_suffixes]

    # First the common prefix, then the prompt suffixes one after another. Two tokens that follow
    # the same token have the same position, because each path counts on from where it branched.
    tokens, positions = list(prompts[0][:common]), list(range(common))
    starts = []  # the place in the row of each prompt suffix's first token
    for suffix in prompt_suffixes:
        starts.append(len(tokens))
        tokens += suffix.tokens
        positions += [common + depth for depth in suffix.depths]

    # Then the completion suffixes. At the same time note, for every token of every completion, the
    # place whose hidden state predicts it: the end of the prompt predicts the first token, the
    # path through the prompt suffix the next ones, the completion's own suffix the rest.
    places = []
    for suffix, start in zip(prompt_suffixes, starts, strict=True):
        for path, own in zip(suffix.paths, suffix.completion_suffixes, strict=True):
            places += [start + suffix.prompt_tokens - 1, *(start + place for place in path)]
            places += range(len(tokens), len(tokens) + len(own))
            first = common + suffix.prompt_tokens + len(path)
            tokens += own
            positions += range(first, first + len(own))

    # Several tokens may be predicted at one place, whose logits are then computed once: `rows`
    # leads from each token to its place among the distinct ones.
    predicting = sorted(set(places))
    index_of = {place: index for index, place in enumerate(predicting)}
    targets = [token for completion in completions for token in completion]
    return Packing(
        tokens=torch.tensor(tokens, device=device),
        positions=torch.tensor(positions, device=device),
        tree=_tree(common, prompt_suffixes, completion_suffixes, max(positions) + 1, device),
        predicting=torch.tensor(predicting, device=device),
        rows=torch.tensor([index_of[place] for place in places], device=device),
        targets=torch.tensor(targets, device=device),
    )


def _tree(
    common_prefix: int,
    prompt_suffixes: list[PromptSuffix],
    completion_suffixes: list[list[int]],
    longest: int,
    device: torch.device,
) -> Tree:
    widest = max(len(suffix.tokens) for suffix in prompt_suffixes)
    length = max(map(len, completion_suffixes))
    samples = len(prompt_suffixes[0].paths)
    # padding sees itself, so that its softmax is a number
    within = torch.eye(widest, dtype=torch.bool).repeat(len(prompt_suffixes), 1, 1)
    leading = torch.zeros(len(prompt_suffixes), samples, widest, dtype=torch.bool)
    for index, suffix in enumerate(prompt_suffixes):
        # a token sees itself and all that its parent sees; parents come before their children
        for place, parent in enumerate(suffix.parents):
            if parent >= 0:
                within[index, place] |= within[index, parent]
        # a completion sees what the last token of its path sees
        for completion, path in enumerate(suffix.paths):
            last = path[-1] if path else suffix.prompt_tokens - 1
            leading[index, completion] = within[index, last]
    return Tree(
        common_prefix=common_prefix,
        prompt_suffixes=_padded([len(suffix.tokens) for suffix in prompt_suffixes], device),
        completion_suffixes=_padded(list(map(len, completion_suffixes)), device),
        within_prompt_suffixes=_bias(within[:, None, :, None], device),
        to_prompt_suffixes=_bias(leading[:, :, None, None], device),
        within_completion_suffixes=_bias(torch.ones(length, length).tril().bool()[:, None], device),
        longest=longest,
    )


def _padded(lengths: list[int], device: torch.device) -> PaddedSuffixes:
    size = torch.tensor(lengths)[:, None]
    steps = torch.arange(int(size.max()))
    present = steps < size
    starts = size.cumsum(dim=0) - size
    block = torch.where(present, starts + steps, 0)
    back = present.flatten().nonzero()[:, 0]
    return PaddedSuffixes(block.to(device), back.to(device))


def _bias(visible: Tensor, device: torch.device) -> Tensor:
    return torch.zeros(visible.shape).masked_fill(~visible, -torch.inf).to(device)
