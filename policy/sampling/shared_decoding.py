"""Decoding that computes nothing twice: shared prompts, shared beginnings, no finished rows.

It is exact: each row gets the tokens it would get alone, up to the rounding of the logits.

What all prompts begin with, the header, is computed once; then the rest of each prompt, once. From
there on, completions of one problem that have drawn the same tokens so far are one node: the model
runs once for it, and each of its completions draws with its own uniform number. Few-shot answers
begin alike ("Final", ":", …), so there are far fewer nodes than completions until digits come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policy.attention.shared_prefix import (
    CannotShareError,
    Grid,
    PrefixCache,
    Reading,
    Stage,
    Writing,
)
from policy.sampling.completions import Completions

CHUNK_TOKENS = 4096  # prompt tokens read in one pass; more would save nothing
CHUNK_SCORES = 2**25  # attention scores of such a pass: 128 MiB in float32
# what a model raises that asks a cache for more than `update`
CACHE_ERRORS = (AttributeError, LookupError, NotImplementedError, TypeError, ValueError)


class SharedDecoder:
    """Decodes batches of rows under one header; its model must be inside `shared_prefix_of`."""

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], new_tokens: int, device: torch.device
    ) -> None:
        """Compute the header. Raises CannotShareError for a model whose attention is special."""
        config = model.config.get_text_config()
        self._model, self._device = model, device
        self._heads: int = config.num_attention_heads
        self._cache = PrefixCache(max(len(prompt) for prompt in prompts) + new_tokens)
        header = common_prefix(prompts)
        # without a header, one token is read just to see what the layers ask of their attention
        ids = torch.tensor(header or prompts[0][:1], device=device)
        try:
            self._forward(ids, torch.arange(len(ids), device=device), None)
        except CACHE_ERRORS as error:
            raise CannotShareError(
                f"it uses its cache in a way of its own ({type(error).__name__}: {error})"
            ) from error
        if self._cache.attended != set(range(config.num_hidden_layers)):
            raise CannotShareError("not all its layers attend through the exchanged function")
        if not header:
            self._cache.forget_header()
        self._header_length = len(header)

    def decode(
        self, prompts: Sequence[Sequence[int]], owner: Tensor, completions: Completions
    ) -> None:
        """Fill `completions`: row r completes `prompts[owner[r]]`; `owner` [R] is ascending."""
        rests = [prompt[self._header_length :] for prompt in prompts]
        lengths = torch.tensor([len(rest) for rest in rests], device=self._device)
        self._cache.begin(len(rests), int(lengths.max()), len(owner), completions.limit)
        logits = torch.cat(list(self._read(rests, lengths)))
        rows, node, problem = torch.arange(len(owner), device=self._device), owner, None
        for step in range(completions.limit):
            tokens, going_on = completions.draw(logits, node, rows, step)
            if not bool(going_on.any()):
                return
            rows = rows[going_on]
            nodes = branch(node[going_on], tokens[going_on])
            if problem is None:  # the first parents are the problems
                problem = nodes.parent
            else:
                problem = problem[nodes.parent]
                self._cache.copy_nodes(nodes.source, nodes.target, step)
            problem, lengths = self._drop_idle_problems(problem, lengths)
            logits = self._write(nodes.token, problem, lengths, step)
            node, order = nodes.of_row.sort(stable=True)
            rows = rows[order]

    def _read(self, rests: Sequence[Sequence[int]], lengths: Tensor) -> Iterator[Tensor]:
        """Logits [problems, V] after the last token of each prompt, some problems at a time."""
        longest = int(lengths.max())
        scores = self._heads * (self._header_length + longest)
        together = max(1, min(CHUNK_TOKENS, CHUNK_SCORES // scores) // longest)
        keys = torch.arange(longest, device=self._device)
        for first in range(0, len(rests), together):
            here = lengths[first : first + together]
            present = keys < here[:, None]  # [problems, longest]
            problem, offset = present.nonzero().unbind(dim=1)
            cell, hidden = problem * longest + offset, _hide(keys > offset[:, None])
            grid = Grid(first, len(here), longest, cell, hidden)
            flat = [token for rest in rests[first : first + together] for token in rest]
            ids = torch.tensor(flat, device=self._device)
            last = here.cumsum(dim=0) - 1
            positions = self._header_length + offset
            yield self._forward(ids, positions, Reading(grid, first + problem, offset), last)

    def _write(self, tokens: Tensor, problem: Tensor, lengths: Tensor, step: int) -> Tensor:
        """Logits [S, V] after node i's next token, `tokens[i]`, in completing `problem[i]`."""
        keys = torch.arange(self._cache.longest_rest, device=self._device)
        cell, slots = places_in_groups(problem, len(lengths))
        hidden = _hide(keys >= lengths[problem][:, None])
        grid = Grid(0, len(lengths), slots, cell, hidden)
        positions = self._header_length + lengths[problem] + step
        every = torch.arange(len(tokens), device=self._device)
        return self._forward(tokens, positions, Writing(grid, step), every)

    def _drop_idle_problems(self, problem: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Forget problems whose completions are all done, once they are half of them."""
        active, renumbered = torch.unique(problem, return_inverse=True)
        if 2 * len(active) > len(lengths):
            return problem, lengths
        self._cache.keep_problems(active)
        return renumbered, lengths[active]

    def _forward(
        self, ids: Tensor, positions: Tensor, stage: Stage, keep: Tensor | None = None
    ) -> Tensor:
        self._cache.stage = stage
        output = self._model(
            input_ids=ids[None],
            position_ids=positions[None],
            past_key_values=self._cache,
            shared_prefix=self._cache,
            use_cache=True,
            logits_to_keep=1 if keep is None else keep,
        )
        logits: Tensor = output.logits[0]
        return logits


@dataclass(frozen=True)
class Branches:
    """The nodes after a token was drawn, numbered so that few of them have to move.

    Node i has drawn `token[i]` after what the earlier node `parent[i]` had. `of_row` is the node of
    each row. The nodes `target` must be given the keys of the earlier nodes `source`; every other
    node kept its number and so has its keys.
    """

    token: Tensor
    parent: Tensor
    of_row: Tensor
    source: Tensor
    target: Tensor


def branch(parents: Tensor, tokens: Tensor) -> Branches:
    """Rows with the same parent and token become one node; numbers stay 0 to their count."""
    base = int(tokens.max()) + 1
    distinct, child = torch.unique(parents * base + tokens, return_inverse=True)
    parent, token = distinct // base, distinct % base
    count = len(distinct)
    # a parent's first child takes its number, unless that is too high now; the others fill gaps
    eldest = torch.ones_like(parent, dtype=torch.bool)
    eldest[1:] = parent[1:] != parent[:-1]
    stays = eldest & (parent < count)
    vacant = torch.ones(count, dtype=torch.bool, device=parents.device)
    vacant[parent[stays]] = False
    target = vacant.nonzero()[:, 0]
    number = parent.clone()
    number[~stays] = target
    order = number.argsort()
    return Branches(token[order], parent[order], number[child], parent[~stays], target)


def places_in_groups(group: Tensor, groups: int) -> tuple[Tensor, int]:
    """Cells on a grid [groups, slots] for items of these groups, and the slots that it needs."""
    counts = group.bincount(minlength=groups)
    slots = int(counts.max())
    ordered, order = group.sort(stable=True)
    rank = torch.empty_like(group)
    before = (counts.cumsum(dim=0) - counts)[ordered]
    rank[order] = torch.arange(len(group), device=group.device) - before
    return group * slots + rank, slots


def common_prefix(prompts: Sequence[Sequence[int]]) -> list[int]:
    """What all prompts begin with, leaving each at least its last token."""
    ordered = sorted(map(list, prompts))
    first, last = ordered[0], ordered[-1]  # they differ first where any two do
    limit = min(len(prompt) for prompt in prompts) - 1
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    return first[:length]


def _hide(mask: Tensor) -> Tensor:
    """[S, 1, 1, L] from [S, L]."""
    return mask[:, None, None, :]
