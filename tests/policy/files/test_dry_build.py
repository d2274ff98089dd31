"""A model is made only as far as the weights of its folder are for it."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from policy.files.dry_build import (
    FEWEST_PARTS,
    MOST_TABLES_BYTES,
    PARTS_A_TENSOR,
    refuse_larger_than_its_weights,
)
from policy.files.header import StoredTensor
from schemas.errors import InputError
from tests.policy.limited.hostile import outcomes

STORED = [StoredTensor("a", (10, 10))]
FOLDER = Path("model")
MOST = FEWEST_PARTS + PARTS_A_TENSOR


def refuse(make: Callable[[], nn.Module], *, packed: bool = False) -> None:
    refuse_larger_than_its_weights(make, STORED, packed=packed, folder=FOLDER)


class Layers(nn.Module):
    """So many layers, some of which were made when it ended."""

    made = 0

    def __init__(self, layers: int) -> None:
        super().__init__()
        Layers.made = 0
        self.layers = nn.ModuleList(self.layer() for _ in range(layers))

    def layer(self) -> nn.Module:
        Layers.made += 1
        return nn.Sequential(nn.Dropout())


class Tables(nn.Module):
    """It computes a table of so many positions, a byte for each two."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.table = nn.Buffer(torch.ones(positions, positions, dtype=torch.bool))


def test_a_multitude_of_parts_without_weights_is_not_made() -> None:
    refuse(lambda: Layers(MOST // 2 - 1))
    with pytest.raises(InputError, match=r"more than 2,040 parts for 1 stored tensors") as caught:
        refuse(lambda: Layers(10**9))
    assert Layers.made < MOST + 10
    assert str(caught.value).startswith("model: config.json describes a model of")


def test_weights_may_be_twice_those_that_are_stored() -> None:
    refuse(lambda: nn.Linear(10, 20, bias=False))
    refuse(lambda: nn.Linear(10, 320, bias=False), packed=True)
    for rows in (21, 10**9):
        with pytest.raises(InputError, match=r"more than 200 weights, and its files hold 100"):
            refuse(partial(nn.Linear, 10, rows, bias=False))


def test_what_is_kept_beside_the_weights_is_counted() -> None:
    refuse(lambda: Tables(int(MOST_TABLES_BYTES**0.5)))
    for positions in (2**14 + 10, 2**24):
        with pytest.raises(InputError, match=r"keeps more than 268,435,856 bytes beside"):
            refuse(partial(Tables, positions))


def test_nothing_is_counted_afterwards_nor_in_another_thread() -> None:
    def elsewhere() -> nn.Module:
        other = threading.Thread(target=lambda: Layers(2 * MOST))
        other.start()
        other.join()
        return nn.Linear(10, 10)

    refuse(elsewhere)
    assert Layers.made == 2 * MOST
    with pytest.raises(InputError):
        refuse(lambda: Layers(2 * MOST))
    Layers(2 * MOST)


BART = {"model_type": "bart", "architectures": ["BartForCausalLM"], "d_model": 64}
CODEGEN = {"model_type": "codegen", "architectures": ["CodeGenForCausalLM"], "n_embd": 64}
OPT = {"model_type": "opt", "architectures": ["OPTForCausalLM"], "hidden_size": 64}
HOSTILE: list[tuple[str, dict[str, Any]]] = [
    ("decoder_layers is 50000000, more than 2,000", {**BART, "decoder_layers": 50_000_000}),
    ("decoder_layers is 1e+30, more than 2,000", {**BART, "decoder_layers": 1e30}),
    ("weights, and its files hold", {**BART, "decoder_layers": 1999}),
    ("n_positions is 100000000, more than", {**CODEGEN, "n_positions": 100_000_000}),
    ("bytes beside its weights", {**CODEGEN, "n_positions": 2**24, "n_ctx": 2**24}),
    ("weights, and its files hold", {**OPT, "max_position_embeddings": 2**24}),
]
SMALL = {
    "vocab_size": 264, "n_layer": 2, "n_head": 4, "rotary_dim": 8, "decoder_attention_heads": 4,
    "num_hidden_layers": 2, "num_attention_heads": 4, "word_embed_proj_dim": 64, "eos_token_id": 0,
}  # fmt: skip


def test_a_config_of_a_model_without_end_is_refused_in_one_line(tiny: str, tmp_path: Path) -> None:
    folders = []
    for number, (_, config) in enumerate(HOSTILE):
        folder = Path(shutil.copytree(tiny, tmp_path / str(number)))
        (folder / "config.json").write_text(json.dumps({**SMALL, **config}))
        folders.append(folder)
    found = outcomes(folders)
    for (reason, _), folder, outcome in zip(HOSTILE, folders, found, strict=True):
        assert outcome.line is not None, reason
        assert reason in outcome.line
        assert outcome.line.startswith(str(folder))
        assert "\n" not in outcome.line
        assert outcome.seconds < 20, reason  # a first import of the model's module
        assert outcome.bytes < 2**30, reason
