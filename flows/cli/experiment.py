"""The option --experiment: which of MLflow's experiments a command writes to and reads."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator

from artifacts.tracking.named import EXPERIMENT, EXPERIMENT_NAME
from schemas.errors import InputError

# the verbs that write or read runs; `doctor` and `gc` look at every experiment
VERBS = (
    "demo", "eval", "select", "learn", "rescore", "compare", "promote", "runs", "show", "export",
    "prompt", "tokens", "ask", "sync", "up",
)  # fmt: skip


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """Add the option to a verb."""
    parser.add_argument(
        "--experiment",
        default=argparse.SUPPRESS,
        metavar="NAME",
        help=f"MLflow's experiment; default {EXPERIMENT_NAME} or {EXPERIMENT}",
    )


@contextlib.contextmanager
def in_experiment(options: argparse.Namespace) -> Iterator[None]:
    """Name the experiment of a command in its environment, which its processes have too.

    InputError for an empty name.
    """
    name = vars(options).pop("experiment", None)
    if name is None:
        yield
        return
    if not name.strip():
        raise InputError("is no name", "--experiment", "write one, or leave the option out")
    before = os.environ.get(EXPERIMENT_NAME)
    os.environ[EXPERIMENT_NAME] = name
    try:
        yield
    finally:
        os.environ.pop(EXPERIMENT_NAME, None)
        if before is not None:
            os.environ[EXPERIMENT_NAME] = before
