"""Decoding that computes nothing twice: shared prompts, shared beginnings, no finished rows.

It is exact: each row gets the tokens it would get alone, up to the rounding of the logits.

The common prefix of all prompts is computed once; then the prompt suffix, the rest of each prompt,
once. After that, completions of one problem that have the same tokens so far are one node: the
model runs once for it, and each of its completions samples with its own uniform number. Few-shot
answers begin alike ("Final", ":", …), so there are far fewer nodes than completions until the
digits come. Where the prompts show how answers begin (`policy.sampling.draft`), that beginning is
read with the prompts, and a node that follows it needs no pass.
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
from policy.sampling.draft import common_draft

CHUNK_TOKENS = 4096  # prompt tokens read in one pass; more would save nothing
CHUNK_SCORES = 2**25  # attention scores of such a pass: 128 MiB in float32
MOST_DRAFTS = 1024  # distributions kept of drafted tokens: 200 MB with 49,152 tokens in float32
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
        draft = common_draft(prompts, completions.limit - 1)
        if len(prompts) * (1 + len(draft)) > MOST_DRAFTS:
            draft = []
        suffixes = [[*prompt[self._common_prefix :], *draft] for prompt in prompts]
        read = torch.tensor([len(suffix) for suffix in suffixes], device=self._device)
        self._cache.begin(len(suffixes), int(read.max()), len(owner), completions.limit)
        # the logits after each prompt and each drafted token: after[d] is [problems, V]
        chunks = list(self._read(suffixes, read, len(draft)))
        after = [torch.cat([chunk[d] for chunk in chunks]) for d in range(1 + len(draft))]
        del chunks
        lengths = read - len(draft)
        self._cache.take_draft(lengths, len(draft))
        logits, rows, node = after[0], torch.arange(len(owner), device=self._device), owner
        problem = torch.arange(len(suffixes), device=self._device)
        following = torch.ones_like(problem, dtype=torch.bool)  # nodes that are the draft so far
        for step in range(completions.limit):
            # every row samples from the logits of its node; finished rows leave
            tokens, going_on = completions.sample_step(logits, node, rows, step)
            if not bool(going_on.any()):
                return
            rows = rows[going_on]
            # rows of one node that sampled different tokens go to different nodes now
            nodes = branch(node[going_on], tokens[going_on])
            problem = problem[nodes.parent]
            self._cache.copy_nodes(nodes.source, nodes.target, max(step, len(draft)))
            if step < len(draft):
                # nodes that follow the draft have their keys and logits already
                following = following[nodes.parent] & (nodes.token == draft[step])
                logits = after[step + 1][problem]
                others = (~following).nonzero()[:, 0]
                if len(others):
                    logits[others] = self._write(nodes.token, problem, lengths, step, others)
            else:
                after.clear()
                # one pass of the model over all nodes
                problem, lengths = self._drop_finished_problems(problem, lengths)
                logits = self._write(nodes.token, problem, lengths, step)
            # then the rows in the order of their nodes
            node, order = nodes.of_row.sort(stable=True)
            rows = rows[order]

    def _read(
        self, suffixes: Sequence[Sequence[int]], lengths: Tensor, drafted: int
    ) -> Iterator[Tensor]:
        """Logits [1 + drafted, problems, V] after the last tokens, some problems at a time."""
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
            kept = last - torch.arange(drafted, -1, -1, device=self._device)[:, None]
            positions = self._common_prefix + offset
            stage = Reading(grid, first + problem, offset)
            logits = self._forward(ids, positions, stage, kept.flatten())
            yield logits.view(1 + drafted, len(here), -1)

    def _write(
        self,
        tokens: Tensor,
        problem: Tensor,
        lengths: Tensor,
        step: int,
        chosen: Tensor | None = None,
    ) -> Tensor:
        """Logits [S, V] after node i's next token, `tokens[i]`, in completing `problem[i]`.

        Of the nodes `chosen` [S], or of all.
        """
        if chosen is not None:
            tokens, problem = tokens[chosen], problem[chosen]
        keys = torch.arange(self._cache.longest_suffix, device=self._device)
        cell, slots = places_in_groups(problem, len(lengths))
        hidden = _hide(keys >= lengths[problem][:, None])
        grid = Grid(0, len(lengths), slots, cell, hidden)
        positions = self._common_prefix + lengths[problem] + step
        every = torch.arange(len(tokens), device=self._device)
        nodes = slice(len(tokens)) if chosen is None else chosen
        return self._forward(tokens, positions, Writing(grid, step, nodes), every)

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
