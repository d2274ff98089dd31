"""Attention in three parts against the same attention written out, and what it will not serve."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from policy.attention.shared_prefix import (
    ATTENTION,
    Grid,
    PrefixCache,
    Reading,
    Writing,
    shared_prefix_attention,
    shared_prefix_of,
)
from policy.attention.support import UnsupportedAttentionError
from policy.model.load import Policy

HEADS, GROUP, WIDTH = 2, 3, 8
MODULE = SimpleNamespace(layer_idx=0)
COMMON, SUFFIXES, OWN = 4, [3, 1, 2], 2  # tokens


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def written_out(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one query [Hq, D] over keys and values [Hkv, tokens, D], head by head."""
    out = []
    for head in range(HEADS * GROUP):
        shared = head // GROUP
        weights = (keys[shared] @ query[head] * WIDTH**-0.5).softmax(dim=0)
        out.append(weights @ values[shared])
    return torch.stack(out)


class Scene:
    """A cache fed step by step, and every token's keys and values kept apart beside it."""

    def __init__(self, common: int = COMMON) -> None:
        self.cache = PrefixCache(total_tokens=16)
        self.keys: list[list[Tensor]] = [[] for _ in SUFFIXES]
        self.values: list[list[Tensor]] = [[] for _ in SUFFIXES]
        self.counter = 0
        if common:
            self.run(common, None)
        self.cache.begin(len(SUFFIXES), max(SUFFIXES), nodes=8, new_tokens=4)

    def run(self, tokens: int, stage: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One pass over `tokens` random tokens; their queries, keys, values, and the output."""
        self.counter += 1
        generator = torch.Generator().manual_seed(self.counter)
        query = torch.randn(1, HEADS * GROUP, tokens, WIDTH, generator=generator)
        key, value = (torch.randn(1, HEADS, tokens, WIDTH, generator=generator) for _ in "kv")
        self.cache.stage = stage
        key, value = self.cache.update(key, value, 0)
        output, _ = shared_prefix_attention(
            MODULE, query, key, value, None, shared_prefix=self.cache
        )
        if stage is None:
            self.common = key[0], value[0]
        return query[0], key[0], value[0], output[0]


def grid(problems: list[int], visible: list[int], slots: int, cells: list[int]) -> Grid:
    """A grid whose token i sees the first `visible[i]` keys of its problem."""
    hidden = torch.arange(max(SUFFIXES)) >= torch.tensor(visible)[:, None]
    return Grid(0, len(problems), slots, torch.tensor(cells), hidden[:, None, None])


@pytest.mark.parametrize("common", [COMMON, 0])
def test_three_parts_are_one_attention(common: int) -> None:
    """Prompts are read, then three nodes, two of them of problem 0, write two tokens."""
    scene = Scene(common)
    shared = scene.common if common else (torch.empty(HEADS, 0, WIDTH),) * 2

    problem = torch.tensor([0, 0, 0, 1, 2, 2])
    offset = torch.tensor([0, 1, 2, 0, 0, 1])
    reading = Reading(
        grid([0, 1, 2], (offset + 1).tolist(), 3, (problem * 3 + offset).tolist()), problem, offset
    )
    query, key, value, output = scene.run(6, reading)
    for token in range(6):
        seen = (problem == problem[token]) & (offset <= offset[token])
        keys = torch.cat([shared[0], key[:, seen]], dim=1)
        values = torch.cat([shared[1], value[:, seen]], dim=1)
        torch.testing.assert_close(output[token], written_out(query[:, token], keys, values))

    suffix_of = [(key[:, problem == b], value[:, problem == b]) for b in range(3)]
    owner = [0, 2, 0]
    own: list[list[tuple[Tensor, Tensor]]] = [[], [], []]
    for step in range(OWN):
        layout = grid([0, 1, 2], [SUFFIXES[b] for b in owner], 2, [0, 4, 1])
        query, key, value, output = scene.run(3, Writing(layout, step, slice(3)))
        for node in range(3):
            own[node].append((key[:, node : node + 1], value[:, node : node + 1]))
            suffix = suffix_of[owner[node]]
            keys, values = (
                torch.cat([shared[part], suffix[part], *(pair[part] for pair in own[node])], dim=1)
                for part in (0, 1)
            )
            torch.testing.assert_close(output[node], written_out(query[:, node], keys, values))


def test_the_common_prefix_is_attended_causally() -> None:
    scene = Scene(common=0)
    query, key, value, output = scene.run(5, None)
    for token in range(5):
        expected = written_out(query[:, token], key[:, : token + 1], value[:, : token + 1])
        torch.testing.assert_close(output[token], expected)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"softcap": 50.0}, "takes softcap"),
        ({"s_aux": torch.ones(2)}, "takes s_aux"),
        ({"position_bias": torch.ones(2), "softcap": 1.0}, "takes position_bias, softcap"),
        ({"sliding_window": 15}, "the last 15 tokens only"),
        ({"dropout": 0.1}, "a mask or dropout"),
        ({"shared_prefix": None}, "do not hand the cache"),
    ],
)
def test_what_it_cannot_compute_is_refused(asked: dict[str, Any], reason: str) -> None:
    scene = Scene()
    tokens = random(1, HEADS, 1, WIDTH)
    with pytest.raises(UnsupportedAttentionError, match=reason):
        shared_prefix_attention(
            MODULE, tokens, tokens, tokens, None, **{"shared_prefix": scene.cache, **asked}
        )


def test_a_layer_that_stored_no_keys_is_refused() -> None:
    scene = Scene()
    tokens = random(1, HEADS, 1, WIDTH)
    borrowing = SimpleNamespace(layer_idx=1)
    with pytest.raises(UnsupportedAttentionError, match="another layer's keys"):
        shared_prefix_attention(borrowing, tokens, tokens, tokens, None, shared_prefix=scene.cache)


def test_what_changes_nothing_is_accepted() -> None:
    scene = Scene()
    scene.cache.stage = None
    tokens = random(1, HEADS, 1, WIDTH)
    shared_prefix_attention(
        MODULE, tokens, tokens, tokens, None, shared_prefix=scene.cache, softcap=None,
        sliding_window=16, position_ids=torch.zeros(1, 1), use_cache=True, output_attentions=False,
    )  # fmt: skip


def test_dropped_problems_leave_the_others_keys_in_their_new_order() -> None:
    scene = Scene()
    problem, offset = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0])
    _, key, value, _ = scene.run(
        3, Reading(grid([0, 1, 2], [1, 1, 1], 1, [0, 1, 2]), problem, offset)
    )
    scene.cache.keep_problems(torch.tensor([2, 0]))
    stored = scene.cache.keys[0].prompt_suffix
    assert stored is not None
    assert torch.equal(stored[0][:, :, 0], key[:, [2, 0]].transpose(0, 1))
    assert torch.equal(stored[1][:, :, 0], value[:, [2, 0]].transpose(0, 1))


def test_the_attention_is_exchanged_inside_only(tiny_policy: Callable[[str], Policy]) -> None:
    config = tiny_policy("llama").model.config

    def fail_inside() -> None:
        with shared_prefix_of(tiny_policy("llama").model):
            assert config._attn_implementation == ATTENTION
            raise ZeroDivisionError

    before = config._attn_implementation
    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert config._attn_implementation == before


def test_no_model_may_count_on_the_length_of_the_cache() -> None:
    scene = Scene()
    assert scene.cache.get_seq_length() == 0
