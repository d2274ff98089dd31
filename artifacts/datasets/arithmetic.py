"""The built-in dataset `arithmetic`: integer problems with +, − and ×, the same on every machine.

It never changes: other ranges are another version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pyarrow as pa

NAME = "arithmetic"
VERSION = 1
SEED = 0
SPLITS = ("train", "dev", "holdout")
FAMILIES = ("addition", "subtraction", "multiplication")
# problems a family in each measured split; the rest is for training
HOLDOUT = 80
DEV = 40

Question = tuple[int, int]


def questions(family: str) -> Iterator[Question]:
    """Every question of a family once; a∘b and b∘a are one question where the order is idle."""
    if family == "addition":
        yield from ((a, b) for a in range(2, 31) for b in range(a, 31))
    elif family == "subtraction":
        yield from ((a, b) for a in range(3, 25) for b in range(2, a))
    elif family == "multiplication":
        yield from ((a, b) for a in range(2, 10) for b in range(a, 31))
    else:
        raise ValueError(f"no family {family!r}")


def prompt(family: str, a: int, b: int) -> str:
    """The question as a person would ask it."""
    sign = {"addition": "+", "subtraction": "-", "multiplication": "*"}[family]
    return f"What is {a} {sign} {b}?"


def answer(family: str, a: int, b: int) -> int:
    """The one expected integer."""
    return {"addition": a + b, "subtraction": a - b, "multiplication": a * b}[family]


def shuffle_key(*parts: object) -> bytes:
    """An order that depends on version, seed and the parts alone."""
    return hashlib.sha256(repr((NAME, VERSION, SEED, *parts)).encode()).digest()


def arithmetic(split: str) -> pa.Table:
    """The problems of one split, families mixed, in an order that has nothing to do with them.

    Raises KeyError when there is no such split.
    """
    first, last = {
        "holdout": (0, HOLDOUT),
        "dev": (HOLDOUT, HOLDOUT + DEV),
        "train": (HOLDOUT + DEV, None),
    }[split]
    rows = []
    for family in FAMILIES:
        ordered = sorted(questions(family), key=lambda q, f=family: shuffle_key(f, q))  # type: ignore[misc]
        for a, b in ordered[first:last]:
            if family != "subtraction" and shuffle_key("turn", family, a, b)[0] % 2:
                a, b = b, a
            rows.append(
                (f"{family[:3]}-{a}-{b}", prompt(family, a, b), answer(family, a, b), family)
            )
    rows.sort(key=lambda row: shuffle_key("mix", row[0]))
    ids, prompts, answers, families = zip(*rows, strict=True)
    return pa.table(
        {
            "problem_id": pa.array(ids, pa.string()),
            "prompt": pa.array(prompts, pa.string()),
            "expected_answer": pa.array([str(value) for value in answers], pa.string()),
            "family": pa.array(families, pa.string()),
            "split": pa.array([split] * len(rows), pa.string()),
        }
    )
