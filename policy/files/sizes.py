"""Whether the sizes that a model's config.json gives can be those of its weights.

A config is believed by whoever makes a model from it: a million layers are a million objects.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from policy.files.header import StoredTensor, stored_tensors
from schemas.errors import InputError

LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
# each is a dimension of some weight
DIMENSIONS = ("hidden_size", "n_embd", "d_model", "vocab_size")
# none is larger than the largest dimension of a weight
PARTS = (
    "intermediate_size", "n_inner", "ffn_dim", "moe_intermediate_size", "head_dim",
    "num_attention_heads", "n_head", "num_heads", "num_key_value_heads", "num_local_experts",
    "num_experts", "n_routed_experts",
)  # fmt: skip
MOST_COUNTED = 2_000
# whatever else is counted: parts of a model are made for each
COUNTED = frozenset({"layers", "blocks", "groups", "depth", "depths", "stages"})
# numbers are computed for each position, but a model with rotations has no weight for it
MOST_POSITIONS = 2**24
POSITIONS = re.compile(r"(?:^|_)(?:positions|position_embeddings|n_ctx|max_seq_len\w*|seq_length)$")
NOT_SIZES = ("quantization_config",)  # it counts weights that share a number
MOST = {**dict.fromkeys(LAYERS, 2_000), **dict.fromkeys((*DIMENSIONS, *PARTS), 2**24)}
MUST_FIT = "config.json and weights must come from one model"
NUMBER = re.compile(r"(?:^|\.)(\d+)(?=\.)")


def check_sizes(config: Mapping[str, Any], weights: Sequence[Path], file: Path) -> None:
    """InputError for sizes that are no sizes, or not those of the weight files.

    `config` is the content of `file`. Of the weights the headers are read; no model is made.
    """
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            for name, size in _sizes(part):
                _refuse_no_size(name, size, file)
    _refuse_large_counts(config, file)
    tensors = stored_tensors(weights)
    text = config.get("text_config")
    _check_against(text if isinstance(text, dict) else config, tensors, file)


def _sizes(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each size that is given; a list gives one for each layer."""
    for name in MOST:
        given = config.get(name)
        for size in given if isinstance(given, list) else [given]:
            if size is not None:
                yield name, size


def _refuse_large_counts(config: Mapping[str, Any], file: Path) -> None:
    """InputError for a setting that counts more parts or positions than any model has."""
    for name, value in _settings(config):
        counted = not COUNTED.isdisjoint(name.split("_"))
        most = MOST_COUNTED if counted else MOST_POSITIONS if POSITIONS.search(name) else None
        for size in value if isinstance(value, list) else [value]:
            if most is not None and type(size) in (int, float) and size > most:
                raise InputError(
                    f"{name} is {str(size)[:40]}, more than {most:,}", str(file), MUST_FIT
                )


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each setting by its name, those of the parts of a model too."""
    waiting: list[Any] = [config]
    while waiting:
        for name, value in waiting.pop().items():
            if isinstance(value, dict) and name not in NOT_SIZES:
                waiting.append(value)
            else:
                yield name, value


def _refuse_no_size(name: str, size: Any, file: Path) -> None:
    zero_is_none = name in PARTS and size == 0
    if type(size) is not int or not (1 <= size <= MOST[name] or zero_is_none):
        raise InputError(
            f"{name} is {str(size)[:40]!r}, not a whole number from 1 to {MOST[name]:,}",
            str(file),
            MUST_FIT,
        )


def _check_against(config: Mapping[str, Any], tensors: Sequence[StoredTensor], file: Path) -> None:
    dimensions = {size for tensor in tensors for size in tensor.shape}
    largest, layers = max(dimensions, default=0), _layers(tensors)
    for name, size in _sizes(config):
        if name in LAYERS and size > layers:
            told = f"have {layers} layers"
        elif name in DIMENSIONS and size not in dimensions:
            told = "have no such dimension"
        elif name in PARTS and size > largest:
            told = f"have no dimension above {largest:,}"
        else:
            continue
        raise InputError(f"{name} is {size:,}, but the weights {told}", str(file), MUST_FIT)


def _layers(tensors: Sequence[StoredTensor]) -> int:
    """The largest number of parts that are numbered in one place, as layers are."""
    numbered: defaultdict[str, set[str]] = defaultdict(set)
    for tensor in tensors:
        for found in NUMBER.finditer(tensor.name):
            numbered[tensor.name[: found.start(1)]].add(found[1])
    return max((len(numbers) for numbers in numbered.values()), default=0)
