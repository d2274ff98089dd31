"""Whether an MLflow server answers: what an error of its client means."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from schemas.errors import InputError

T = TypeVar("T")
PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2)  # seconds between tries, enough for a server that is restarted
PATIENCE = 20.0  # seconds after which nothing is tried again: one that is frozen takes long


class UnreachableError(InputError):
    """The MLflow server does not answer."""


def no_answer(error: BaseException) -> bool:
    """Whether an error says that the server did not answer, or was not able to."""
    return any(_of_the_network(cause) for cause in _causes(error))


def _of_the_network(error: BaseException) -> bool:
    """Whether MLflow's HTTP client, which is not ours to import, raised an error."""
    modules = (kind.__module__.partition(".")[0] for kind in type(error).__mro__)
    own = isinstance(error, (ConnectionError, TimeoutError))
    return own or any(module in ("requests", "urllib3") for module in modules)


def reason(error: BaseException) -> str:
    """Why there was no answer, in a word or two."""
    ours = ("MlflowException", "UnreachableError")
    names = [type(cause).__name__ for cause in _causes(error)]
    return next((name for name in names if name not in ours), names[0])


def asked(call: Callable[[bool], T], patience: float = PATIENCE) -> T:
    """The answer to a call, tried for a while. UnreachableError where nobody answers.

    The call is told whether it was made before: what it asked for may have been done, and the
    answer lost.
    """
    began, tries = time.monotonic(), 0
    while True:
        try:
            return call(tries > 0)
        except Exception as error:  # MLflow has one class for everything
            if not no_answer(error):
                raise
            late = time.monotonic() - began >= patience
            if tries == len(PAUSES) or late:
                raise UnreachableError(f"MLflow does not answer ({reason(error)})") from error
        time.sleep(PAUSES[tries])
        tries += 1


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
