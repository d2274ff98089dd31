"""Where work begins that a command, a program or Prefect's own worker may call."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from artifacts.store.data_dir import private_files
from artifacts.text.secrets import hiding_secrets

P = ParamSpec("P")
R = TypeVar("R")


def guarded(function: Callable[P, R]) -> Callable[P, R]:
    """The function of a flow or a task: its files are private, and its errors say no secret.

    A worker calls it without any command of ours around it, and Prefect keeps what it raises.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        with private_files(), hiding_secrets():
            return function(*args, **kwargs)

    # Prefect would look for the names of types in this module
    vars(call)["__signature__"] = inspect.signature(function, eval_str=True)
    return call
