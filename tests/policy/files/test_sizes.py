"""Sizes in config.json are believed only if the weights have them, before a model is made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy.model.load import check_weights, load_policy
from policy.model.tiny import ARCHITECTURES
from schemas.errors import InputError


def change(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_sizes_of_a_model_are_those_of_its_weights(
    architecture: str, tiny_folder: Callable[[str], Path]
) -> None:
    check_weights(tiny_folder(architecture))


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("num_hidden_layers", 10**6, "not a whole number from 1 to 2,000"),
        ("num_hidden_layers", 3, "is 3, but the weights have 2 layers"),
        ("num_hidden_layers", 0, "not a whole number"),
        ("num_hidden_layers", -1, "not a whole number"),
        ("num_hidden_layers", 2.0, "not a whole number"),
        ("num_hidden_layers", "2", "not a whole number"),
        ("num_hidden_layers", True, "not a whole number"),
        ("num_hidden_layers", {"a": 1}, "not a whole number"),
        ("n_layer", 1999, "but the weights have 2 layers"),
        ("hidden_size", 65, "is 65, but the weights have no such dimension"),
        ("hidden_size", 10**4000, "not a whole number"),
        ("vocab_size", 10**6, "is 1,000,000, but the weights have no such dimension"),
        ("intermediate_size", 10**6, "the weights have no dimension above 264"),
        ("intermediate_size", [48, 10**6], "the weights have no dimension above 264"),
        ("num_attention_heads", 10**6, "the weights have no dimension above 264"),
        ("num_key_value_heads", -2, "not a whole number"),
        ("head_dim", 10**6, "the weights have no dimension above 264"),
        ("num_experts", 10**6, "the weights have no dimension above 264"),
        ("text_config", {"num_hidden_layers": 10**6}, "not a whole number"),
        ("decoder_layers", 50_000_000, "decoder_layers is 50000000, more than 2,000"),
        ("decoder_layers", 1e30, "decoder_layers is 1e.30, more than 2,000"),
        ("num_blocks", [2, 2001], "num_blocks is 2001, more than 2,000"),
        ("vision_config", {"depth": 10**9}, "depth is 1000000000, more than 2,000"),
        ("a", {"b": {"n_groups": 2001}}, "n_groups is 2001, more than 2,000"),
        ("n_positions", 10**8, "n_positions is 100000000, more than 16,777,216"),
        ("max_position_embeddings", 10**8, "more than 16,777,216"),
        ("text_config", {"max_position_embeddings": 10**8}, "more than 16,777,216"),
    ],
)
def test_a_size_that_is_none_or_another_s_is_refused(
    folder: Path, name: str, size: Any, reason: str
) -> None:
    change(folder, **{name: size})
    for refuse in (check_weights, lambda folder: load_policy(folder, name="model", device="cpu")):
        started = time.process_time()
        with pytest.raises(InputError, match=reason) as caught:
            refuse(folder)
        assert time.process_time() - started < 1
        assert caught.value.where == str(folder / "config.json")
        assert len(str(caught.value)) < 400


def test_settings_that_count_no_parts_may_be_large(folder: Path) -> None:
    """As real models have them."""
    change(
        folder,
        max_position_embeddings=10_485_760,
        encoder_layers=12,
        no_rope_layers=[0, 1, 1, 1],
        layer_types=["full_attention"] * 2,
        n_group=8,
        num_key_value_groups=4,
        vocab_size_per_layer_input=262_144,
        intermediate_layers_indices=[3, 7],
        block_size=4096,
        depth_multiplier=1.0,
        quantization_config={"quant_method": "none", "config_groups": {"a": {"groups": 10**6}}},
    )
    check_weights(folder)


def test_a_model_that_is_far_larger_than_its_weights_is_not_made(folder: Path) -> None:
    """Each size is one of the weights', and together they are another model."""
    change(folder, hidden_size=264, intermediate_size=264, head_dim=264, num_attention_heads=264)
    check_weights(folder)
    with pytest.raises(InputError, match=r"a model of more than [\d,]+ weights, and its files"):
        load_policy(folder, name="model", device="cpu")
