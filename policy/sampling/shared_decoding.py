"""Decoding that computes nothing twice: shared prompts, shared beginnings, no finished rows.

It is exact: each row gets the tokens it would get alone, up to the rounding of the logits.

The common prefix of all prompts is computed once; then the prompt suffix, the rest of each prompt,
once. After that, completions of one problem that have the same tokens so far are one node: the
model runs once for it, and each of its completions samples with its own uniform number. Few-shot
answers begin alike ("Final", ":", …), so there are far fewer nodes than completions until the
digits come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from policy.attention.prefix_tree import common_prefix_length
from policy.attention.shared_prefix import Grid, PrefixCache, Reading, Stage, Writing
from policy.attention.support import UnsupportedAttentionError
from policy.sampling.completions import Completions

CHUNK_TOKENS = 4096  # prompt tokens read in one pass; more would save nothing
CHUNK_SCORES = 2**25  # attention scores of such a pass: 128 MiB in float32
# what a model raises when it asks a cache for more than `update`
CACHE_ERRORS = (AttributeError, LookupError, NotImplementedError, TypeError, ValueError)


class SharedDecoder:
    """Decodes batches under one common prefix; the model must be inside `shared_prefix_of`."""

    def __init__(
        self, model: Any, prompts: Sequence[Sequence[int]], new_tokens: int, device: torch.device
    ) -> None:
        """Compute the common prefix.

        Raises UnsupportedAttentionError for a model whose attention is special.
        """
        config = model.config.get_text_config()
        self._model, self._device = model, device
        self._heads: int = config.num_attention_heads
        self._cache = PrefixCache(max(len(prompt) for prompt in prompts) + new_tokens)
        self._common_prefix = common_prefix_length(prompts)
        # without a common prefix, one token is read only to see what the layers ask for
        ids = torch.tensor(list(prompts[0][: self._common_prefix or 1]), device=device)
        try:
            self._forward(ids, torch.arange(len(ids), device=device), None)
        except CACHE_ERRORS as error:
            raise UnsupportedAttentionError(
                f"it uses its cache in a way of its own ({type(error).__name__}: {error})"
            ) from error
        if self._cache.attended != set(range(config.num_hidden_layers)):
            raise UnsupportedAttentionError(
                "not all its layers attend through the exchanged function"
            )
        if not self._common_prefix:
            self._cache.forget_common_prefix()

    def decode(
        self, prompts: Sequence[Sequence[int]], owner: Tensor, completions: Completions
    ) -> None:
        """Fill `completions`: row r completes `prompts[owner[r]]`; `owner` [R] is ascending."""
        suffixes = [prompt[self._common_prefix :] for prompt in prompts]
        lengths = torch.tensor([len(suffix) for suffix in suffixes], device=self._device)
        self._cache.begin(len(suffixes), int(lengths.max()), len(owner), completions.limit)
        logits = torch.cat(list(self._read(suffixes, lengths)))
        rows, node, problem = torch.arange(len(owner), device=self._device), owner, None
        for step in range(completions.limit):
            # every row samples from the logits of its node; finished rows leave
            tokens, going_on = completions.sample_step(logits, node, rows, step)
            if not bool(going_on.any()):
                return
            rows = rows[going_on]
            # rows of one node that sampled different tokens go to different nodes now
            nodes = branch(node[going_on], tokens[going_on])
            if problem is None:  # the first parents are the problems
                problem = nodes.parent
            else:
                problem = problem[nodes.parent]
                self._cache.copy_nodes(nodes.source, nodes.target, step)
            problem, lengths = self._drop_finished_problems(problem, lengths)
            # one pass of the model over all nodes, then the rows in the order of their nodes
            logits = self._write(nodes.token, problem, lengths, step)
            node, order = nodes.of_row.sort(stable=True)
            rows = rows[order]

    def _read(self, suffixes: Sequence[Sequence[int]], lengths: Tensor) -> Iterator[Tensor]:
        """Logits [problems, V] after the last token of each prompt, some problems at a time."""
        longest = int(lengths.max())
        scores = self._heads * (self._common_prefix + longest)
        together = max(1, min(CHUNK_TOKENS, CHUNK_SCORES // scores) // longest)
        keys = torch.arange(longest, device=self._device)
        for first in range(0, len(suffixes), together):
            here = lengths[first : first + together]
            present = keys < here[:, None]  # [problems, longest]
            problem, offset = present.nonzero().unbind(dim=1)
            cell, hidden = problem * longest + offset, _hide(keys > offset[:, None])
            grid = Grid(first, len(here), longest, cell, hidden)
            flat = [token for suffix in suffixes[first : first + together] for token in suffix]
            ids = torch.tensor(flat, device=self._device)
            last = here.cumsum(dim=0) - 1
            positions = self._common_prefix + offset
            yield self._forward(ids, positions, Reading(grid, first + problem, offset), last)

    def _write(self, tokens: Tensor, problem: Tensor, lengths: Tensor, step: int) -> Tensor:
        """Logits [S, V] after node i's next token, `tokens[i]`, in completing `problem[i]`."""
        keys = torch.arange(self._cache.longest_suffix, device=self._device)
        cell, slots = places_in_groups(problem, len(lengths))
        hidden = _hide(keys >= lengths[problem][:, None])
        grid = Grid(0, len(lengths), slots, cell, hidden)
        positions = self._common_prefix + lengths[problem] + step
        every = torch.arange(len(tokens), device=self._device)
        return self._forward(tokens, positions, Writing(grid, step), every)

    def _drop_finished_problems(self, problem: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Drop the keys of problems whose completions are all done, once they are half of all."""
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
class NextNodes:
    """The nodes after each row has sampled one more token.

    Node i is the earlier node `parent[i]` with `token[i]` after it. `of_row` is the node of each
    row. The nodes `target` must be given the keys of the earlier nodes `source`; every other node
    has the number of its parent and so has its keys already.
    """

    token: Tensor
    parent: Tensor
    of_row: Tensor
    source: Tensor
    target: Tensor


def branch(parents: Tensor, tokens: Tensor) -> NextNodes:
    """Rows with the same parent and token become one node; numbers go from 0 to their count.

    Copying keys is expensive, so the numbers are chosen such that as few nodes as possible move.
    """
    # Write each pair (parent, token) as one number. The distinct ones are the new nodes, sorted by
    # parent; `child` is the place of each row's node among them.
    base = int(tokens.max()) + 1
    distinct, child = torch.unique(parents * base + tokens, return_inverse=True)
    parent, token = distinct // base, distinct % base
    count = len(distinct)

    # The first child of each parent keeps the parent's number, and so the parent's keys. That works
    # only while the number is below the count: the cache uses the rows 0 to count − 1.
    first_child = torch.ones_like(parent, dtype=torch.bool)
    first_child[1:] = parent[1:] != parent[:-1]
    stays = first_child & (parent < count)

    # All other children take the numbers that are left over. There are exactly as many of those.
    vacant = torch.ones(count, dtype=torch.bool, device=parents.device)
    vacant[parent[stays]] = False
    target = vacant.nonzero()[:, 0]
    number = parent.clone()
    number[~stays] = target

    # List the nodes by their new numbers, and tell each row the number of its node.
    order = number.argsort()
    return NextNodes(token[order], parent[order], number[child], parent[~stays], target)


def places_in_groups(group: Tensor, groups: int) -> tuple[Tensor, int]:
    """Cells on a grid [groups, slots] for items of these groups, and how many slots it needs."""
    counts = group.bincount(minlength=groups)
    slots = int(counts.max())
    ordered, order = group.sort(stable=True)
    rank = torch.empty_like(group)
    before = (counts.cumsum(dim=0) - counts)[ordered]
    rank[order] = torch.arange(len(group), device=group.device) - before
    return group * slots + rank, slots


def _hide(mask: Tensor) -> Tensor:
    """[S, 1, 1, L] from [S, L]."""
    return mask[:, None, None, :]
