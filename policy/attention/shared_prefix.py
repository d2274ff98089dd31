"""Attention and key cache for sampling many completions of prompts that begin alike.

All tokens of a forward pass lie in one packed row [1, S], each with its own position. The keys that
a token attends to lie in up to three places, and one softmax runs over all of them:

| part          | keys of                                | stored                             |
|---------------|----------------------------------------|------------------------------------|
| common prefix | what all prompts begin with, P         | once, [Hkv, P, D]                  |
| prompt suffix | the rest of each prompt, at most L     | once a problem, [B, Hkv, L, D]     |
| own           | the tokens generated so far, at most T | once a node, [capacity, Hkv, T, D] |

S packed tokens, Hkv key-value heads with G query heads to each, D width of a head. A node is a
distinct beginning of a completion. Each part is one batched matrix product with the queries that
see it: all of them, a problem's, a node's. The idea of splitting keys by how many queries share
them is Hydragen's (Juravsky et al., "Hydragen: High-Throughput LLM Inference with Shared
Prefixes", 2024). There each part has a softmax of its own and the results are merged; here the
parts share one softmax.

`policy.sampling.shared_decoding` decodes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface, Cache, PreTrainedModel

from policy.attention.support import HARMLESS, UnsupportedAttentionError
from policy.model.precision import working_dtype

ATTENTION = "threeloops_shared_prefix"
Pair = tuple[Tensor, Tensor]  # keys and values
Product = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Grid:
    """The S tokens of a pass laid out [problems, slots], so that a problem's lie together.

    `hidden` [S, 1, 1, L] is true on the keys of its prompt suffix that a token must not see.
    """

    first: int  # the first problem, counted in the batch
    problems: int
    slots: int
    cell: Tensor  # [S], each token's place in the flattened grid
    hidden: Tensor

    def product(self, rows: Tensor, of_problems: Tensor) -> Tensor:
        """[S, Hkv, G, Y] = rows [S, Hkv, G, X] times one matrix a problem and head, [·, X, Y]."""
        _, heads, group, width = rows.shape
        cells = rows.new_zeros(self.problems * self.slots, heads, group, width)
        cells[self.cell] = rows
        cells = cells.view(self.problems, self.slots, heads, group, width).transpose(1, 2)
        cells = cells.reshape(self.problems * heads, self.slots * group, width) @ of_problems
        cells = cells.view(self.problems, heads, self.slots, group, -1).transpose(1, 2)
        return cells.reshape(self.problems * self.slots, heads, group, -1)[self.cell]


@dataclass(frozen=True)
class Reading:
    """A pass over some prompt suffixes: token i is number `offset[i]` of `problem[i]`'s."""

    grid: Grid
    problem: Tensor
    offset: Tensor


@dataclass(frozen=True)
class Writing:
    """A pass over S nodes, each of which adds token `step` to its own keys.

    `nodes` are their numbers: the first S, or those listed.
    """

    grid: Grid
    step: int
    nodes: slice | Tensor


# what a pass is over; None is the common prefix
Stage = Reading | Writing | None


@dataclass
class LayerKeys:
    """One layer's keys and values in the three parts, each allocated once."""

    common_prefix: Pair | None = None
    prompt_suffix: Pair | None = None
    own: Pair | None = None


class PrefixCache(Cache):
    """The keys and values of all layers, and what the current pass is about.

    The first pass stores the common prefix; `begin` then starts a batch under it.
    """

    def __init__(self, total_tokens: int) -> None:
        super().__init__(layers=[])
        self.total_tokens = total_tokens  # of the longest prompt with its completion
        self.keys: dict[int, LayerKeys] = {}
        self.attended: set[int] = set()  # layers whose attention came here
        self.stage: Stage = None
        self._suffix_shape = self._own_shape = (0, 0)

    def begin(self, problems: int, longest_suffix: int, nodes: int, new_tokens: int) -> None:
        """Make room for a batch; the room for its nodes' own keys is used as they need it."""
        self._suffix_shape = problems, longest_suffix
        self._own_shape = nodes, new_tokens
        for layer in self.keys.values():
            layer.prompt_suffix = layer.own = None

    @property
    def longest_suffix(self) -> int:
        """L, the length of the longest prompt suffix, in tokens."""
        return self._suffix_shape[1]

    def forget_common_prefix(self) -> None:
        """Drop all keys: the prompts have no common prefix."""
        self.keys.clear()

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> Pair:
        """Store a pass's keys and values, [1, Hkv, S, D], and give them back as they are."""
        layer = self.keys.setdefault(layer_idx, LayerKeys())
        dtype = working_dtype(key_states)
        keys, values = key_states[0].to(dtype), value_states[0].to(dtype)
        new = keys.transpose(0, 1), values.transpose(0, 1)
        if self.stage is None:
            layer.common_prefix = keys.contiguous(), values.contiguous()
        elif isinstance(self.stage, Reading):
            if layer.prompt_suffix is None:
                layer.prompt_suffix = _room(self._suffix_shape, new)
                # a shorter suffix leaves room unused; its products must be finite to be hidden
                for stored in layer.prompt_suffix:
                    stored.zero_()
            for stored, part in zip(layer.prompt_suffix, new, strict=True):
                stored[self.stage.problem, :, self.stage.offset] = part
        else:
            layer.own = layer.own or _room(self._own_shape, new)
            for stored, part in zip(layer.own, new, strict=True):
                stored[self.stage.nodes, :, self.stage.step] = part
        return key_states, value_states

    def take_draft(self, lengths: Tensor, tokens: int) -> None:
        """Give node b, for each problem b, the keys of the draft read after its prompt.

        The draft's `tokens` came after `lengths[b]` tokens of the prompt suffix.
        """
        if not tokens:
            return
        problems = torch.arange(len(lengths), device=lengths.device)[:, None]
        drafted = lengths[:, None] + torch.arange(tokens, device=lengths.device)
        for layer in self.keys.values():
            assert layer.prompt_suffix is not None
            parts = [stored[problems, :, drafted] for stored in layer.prompt_suffix]
            layer.own = _room(self._own_shape, (parts[0][:, 0], parts[1][:, 0]))
            for stored, part in zip(layer.own, parts, strict=True):
                stored[: len(part), :, :tokens] = part.transpose(1, 2)

    def copy_nodes(self, source: Tensor, target: Tensor, tokens: int) -> None:
        """Give the nodes `target` the first `tokens` own keys and values of the nodes `source`."""
        for layer in self.keys.values():
            for stored in layer.own or ():
                stored[target, :, :tokens] = stored[source, :, :tokens]

    def keep_problems(self, kept: Tensor) -> None:
        """Drop the keys of all problems but these, which get new numbers in this order."""
        for layer in self.keys.values():
            if layer.prompt_suffix is not None:
                keys, values = layer.prompt_suffix
                layer.prompt_suffix = keys[kept], values[kept]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """0: every pass is given its positions, so no model may count on the cache's length."""
        return 0


def shared_prefix_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    shared_prefix: PrefixCache | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention [1, S, Hq, D] of packed queries [1, Hq, S, D].

    The signature is that of transformers' attention interface. Raises UnsupportedAttentionError
    where a model asks for anything that would not be computed here.
    """
    if shared_prefix is None:
        raise UnsupportedAttentionError("its layers do not hand the cache to their attention")
    if sliding_window is not None and sliding_window < shared_prefix.total_tokens:
        raise UnsupportedAttentionError(f"it attends to the last {sliding_window} tokens only")
    asked = {name for name, given in others.items() if given is not None and given is not False}
    unknown = sorted(asked - HARMLESS)
    if unknown or dropout or attention_mask is not None:
        refused = ", ".join(unknown) or "a mask or dropout"
        raise UnsupportedAttentionError(f"its attention takes {refused}")
    if scaling is None:
        scaling = query.shape[-1] ** -0.5
    layer = shared_prefix.keys.get(module.layer_idx)
    if layer is None:
        raise UnsupportedAttentionError("a layer attends to another layer's keys")
    shared_prefix.attended.add(module.layer_idx)
    if shared_prefix.stage is None:
        output = F.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return output.transpose(1, 2), None
    heads = key.shape[1]
    rows = (query[0] * scaling).to(working_dtype(query)).transpose(0, 1)
    rows = rows.reshape(query.shape[2], heads, -1, query.shape[-1])  # [S, Hkv, G, D]
    return _attend(rows, layer, shared_prefix.stage).flatten(1, 2)[None], None


def _attend(rows: Tensor, layer: LayerKeys, stage: Reading | Writing) -> Tensor:
    """[S, Hkv, G, Dv] from scaled queries [S, Hkv, G, D] and the parts that they see."""
    grid = stage.grid
    assert layer.prompt_suffix is not None
    of_problems = slice(grid.first, grid.first + grid.problems)
    keys, values = (stored[of_problems].flatten(0, 1) for stored in layer.prompt_suffix)
    parts: list[tuple[Product, Tensor, Tensor]] = [(grid.product, keys, values)]
    if layer.common_prefix is not None:
        parts.append((_product_of_all, *layer.common_prefix))
    if isinstance(stage, Writing):
        assert layer.own is not None
        keys, values = (stored[stage.nodes, :, : stage.step + 1] for stored in layer.own)
        parts.append((torch.matmul, keys, values))

    scores = [product(rows, keys.mT) for product, keys, _ in parts]
    scores[0].masked_fill_(grid.hidden, float("-inf"))
    weights = torch.cat(scores, dim=-1).softmax(dim=-1, dtype=torch.float32).to(rows.dtype)
    shares = weights.split_with_sizes([part.shape[-1] for part in scores], dim=-1)
    mixed = [
        product(share, values) for share, (product, _, values) in zip(shares, parts, strict=True)
    ]
    output = mixed[0]
    for part in mixed[1:]:
        output = output.add_(part)
    return output


def _product_of_all(rows: Tensor, shared: Tensor) -> Tensor:
    """[S, Hkv, G, Y] = rows [S, Hkv, G, X] times one matrix a head, [Hkv, X, Y]."""
    tokens, heads, group, width = rows.shape
    stacked = rows.transpose(0, 1).reshape(heads, tokens * group, width)
    return (stacked @ shared).view(heads, tokens, group, -1).transpose(0, 1)


def _room(shape: tuple[int, int], new: Pair) -> Pair:
    """Uninitialised keys and values [A, Hkv, C, D] for `shape` (A, C) and tokens [S, Hkv, D]."""
    rows, tokens = shape
    keys, values = (part.new_empty(rows, part.shape[1], tokens, part.shape[2]) for part in new)
    return keys, values


@contextmanager
def shared_prefix_of(model: PreTrainedModel) -> Iterator[None]:
    """Have the model attend through `shared_prefix_attention`, and as before afterwards."""
    AttentionInterface.register(ATTENTION, shared_prefix_attention)
    before = model.config._attn_implementation
    model.set_attn_implementation(ATTENTION)
    try:
        yield
    finally:
        model.set_attn_implementation(before)
