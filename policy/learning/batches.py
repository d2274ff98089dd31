"""Which problems each step of learning uses, as row numbers."""

from __future__ import annotations

import numpy as np

from schemas.errors import InputError
from schemas.identity import derive_seed


def batch_rows(total: int, *, count: int, step: int, seed: int) -> list[int]:
    """Row numbers of step `step` (from 1): `count` of `total`, all different.

    All rows are shuffled, used one step after another, and shuffled again with another seed, so
    that every row comes once before any comes again. Where the last rows of a shuffle are too few
    for a step, they are left out. Raises InputError when `count` exceeds `total`.
    """
    if count > total:
        raise InputError(
            f"a step needs {count} problems and there are {total} to train on",
            "--problems-per-step",
            f"use {total} or fewer",
        )
    shuffle, place = divmod(step - 1, total // count)
    order = np.random.default_rng(derive_seed("deck", seed, shuffle)).permutation(total)
    return [int(row) for row in order[place * count : (place + 1) * count]]
