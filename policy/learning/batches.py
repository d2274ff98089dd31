"""Which problems each step of learning practises on.

It draws row numbers; it knows neither problems nor rewards.
"""

from __future__ import annotations

import numpy as np

from schemas.errors import InputError
from schemas.identity import derive_seed


def batch_rows(total: int, *, count: int, step: int, seed: int) -> list[int]:
    """Row numbers of step `step` (from 1): `count` of `total`, all different.

    The rows are dealt from one shuffled deck after another, each deck by a seed of its own, so
    that every row comes once before any comes again; the last rows of a deck too few for a step
    are left out. Raises InputError when `count` exceeds `total`.
    """
    if count > total:
        raise InputError(
            f"a step needs {count} problems and there are {total} to train on",
            "--problems-per-step",
            f"use {total} or fewer",
        )
    steps_a_deck = total // count
    deck, place = divmod(step - 1, steps_a_deck)
    order = np.random.default_rng(derive_seed("deck", seed, deck)).permutation(total)
    return [int(row) for row in order[place * count : (place + 1) * count]]
