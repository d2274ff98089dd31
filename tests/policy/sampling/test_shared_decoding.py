"""The bookkeeping of shared decoding: who becomes one node, who moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from policy.attention.shared_prefix import shared_prefix_of
from policy.attention.support import UnsupportedAttentionError
from policy.model.load import load_policy
from policy.sampling.shared_decoding import SharedDecoder, branch, places_in_groups


def ids(*numbers: int) -> Tensor:
    return torch.tensor(numbers)


def test_rows_that_sampled_the_same_after_the_same_become_one_node() -> None:
    """Node 0 was sampled from by four rows, node 1 by two, both of which sampled 8."""
    nodes = branch(ids(0, 0, 0, 0, 1, 1), ids(7, 5, 7, 8, 8, 8))
    # distinct: (0, 5), (0, 7), (0, 8), (1, 8); the first of each keep 0 and 1, the others get 2, 3
    assert nodes.token.tolist() == [5, 8, 7, 8]
    assert nodes.parent.tolist() == [0, 1, 0, 0]
    assert nodes.of_row.tolist() == [2, 0, 2, 3, 1, 1]
    assert (nodes.source.tolist(), nodes.target.tolist()) == ([0, 0], [2, 3])


def test_a_finished_node_s_place_is_filled_from_behind() -> None:
    """Nodes 0 and 2 have no rows left; of 1 and 3 the latter moves to a vacant number."""
    nodes = branch(ids(1, 3), ids(4, 4))
    assert nodes.parent.tolist() == [3, 1]
    assert (nodes.source.tolist(), nodes.target.tolist()) == ([3], [0])
    assert nodes.of_row.tolist() == [1, 0]


def test_nothing_moves_when_every_node_goes_on_alone() -> None:
    nodes = branch(ids(0, 1, 2), ids(9, 3, 9))
    assert nodes.token.tolist() == [9, 3, 9]
    assert nodes.of_row.tolist() == [0, 1, 2]
    assert len(nodes.source) == len(nodes.target) == 0


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=40))
def test_branching_keeps_every_row_s_history(rows: list[tuple[int, int]]) -> None:
    """Each row's node has its parent and token, and no move overwrites what is still needed."""
    rows.sort()
    parents, tokens = (torch.tensor(column) for column in zip(*rows, strict=True))
    nodes = branch(parents, tokens)
    count = len(set(rows))
    assert len(nodes.token) == count
    assert torch.equal(nodes.parent[nodes.of_row], parents)
    assert torch.equal(nodes.token[nodes.of_row], tokens)
    keys = torch.arange(28)  # each earlier node's keys, by their owner
    keys[nodes.target] = keys[nodes.source]
    assert torch.equal(keys[:count], nodes.parent)


def test_places_in_groups_are_distinct_and_tight() -> None:
    cell, slots = places_in_groups(ids(2, 0, 2, 2, 0), 4)
    assert slots == 3
    assert cell.tolist() == [6, 0, 7, 8, 1]


def test_a_layer_with_an_attention_of_its_own_is_found_in_the_first_pass(
    tiny_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_policy(tiny_folder("llama"), name="tiny", device="cpu")
    layer = policy.model.model.layers[1].self_attn
    monkeypatch.setattr(layer, "forward", lambda hidden_states, **_: (hidden_states, None))
    with (
        torch.inference_mode(),
        shared_prefix_of(policy.model),
        pytest.raises(UnsupportedAttentionError, match="not all its layers attend"),
    ):
        SharedDecoder(policy.model, [[5, 6, 7]], 4, policy.device)
