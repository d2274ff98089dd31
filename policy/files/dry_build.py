"""How large a model a config describes, found by making it without memory for its numbers.

Without numbers a layer is still a few objects of Python, and millions of them fill the memory too.
So the making ends where there are more parts than the weights can be for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from policy.files.header import StoredTensor
from schemas.errors import InputError

MOST_MISSING = 2  # times the stored weights: a model that needs more is another model
MOST_PACKED = 16  # weights in one stored number
# a layer of a large model has one to two parts for each of its weights
MOST_PARTS, PARTS_A_TENSOR, FEWEST_PARTS = 400_000, 40, 2_000
AGAIN = 4  # weights that are shared are counted each time that a part is given them
# what a model computes from its positions and keeps, such as masks, beside its weights
MOST_TABLES_BYTES = 2**28
FLOAT_BYTES = 4
MUST_FIT = "config.json and weights must come from one model"


def refuse_larger_than_its_weights(
    make: Callable[[], Any], tensors: Sequence[StoredTensor], *, packed: bool, folder: Path
) -> None:
    """InputError where a config describes a model of many more numbers than its files hold.

    `make` makes the model. A few missing weights are named later.
    """
    import torch

    stored = sum(tensor.numbers for tensor in tensors)
    most = MOST_MISSING * (MOST_PACKED if packed else 1) * stored
    most_tables = MOST_TABLES_BYTES + stored * FLOAT_BYTES
    parts = min(MOST_PARTS, FEWEST_PARTS + PARTS_A_TENSOR * len(tensors))
    told = {
        "parts": f"a model of more than {parts:,} parts for {len(tensors):,} stored tensors",
        "weights": f"a model of more than {most:,} weights, and its files hold {stored:,}",
        "tables": f"a model that keeps more than {most_tables:,} bytes beside its weights",
    }

    def refuse(kind: str) -> NoReturn:
        raise InputError(f"config.json describes {told[kind]}", str(folder), MUST_FIT)

    room = {"parts": parts, "weights": AGAIN * most, "tables": AGAIN * most_tables}
    with torch.device("meta"), _taking_from(room, refuse):
        model = make()
    if sum(weight.numel() for weight in model.parameters()) > most:
        refuse("weights")
    if sum(table.numel() * table.element_size() for table in model.buffers()) > most_tables:
        refuse("tables")


@contextmanager
def _taking_from(room: dict[str, int], refuse: Callable[[str], NoReturn]) -> Iterator[None]:
    """Refuse what this thread makes in the block once there is no more room for its kind."""
    from torch.nn.modules import module as hooks

    thread = threading.get_ident()

    def take(kind: str, size: Callable[[Any], int]) -> Callable[..., None]:
        def taken(owner: Any, name: str, part: Any) -> None:
            if part is not None and threading.get_ident() == thread:
                room[kind] -= size(part)
                if room[kind] < 0:
                    refuse(kind)

        return taken

    taking = [
        hooks.register_module_module_registration_hook(take("parts", lambda part: 1)),
        hooks.register_module_parameter_registration_hook(take("parts", lambda part: 1)),
        hooks.register_module_parameter_registration_hook(take("weights", lambda w: w.numel())),
        hooks.register_module_buffer_registration_hook(take("parts", lambda part: 1)),
        hooks.register_module_buffer_registration_hook(
            take("tables", lambda table: table.numel() * table.element_size())
        ),
    ]
    try:
        yield
    finally:
        for hook in taking:
            hook.remove()
