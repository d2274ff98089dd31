"""Whether an MLflow server answers: what an error of its client means."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from schemas.errors import InputError

T = TypeVar("T")
PAUSES = (0.2, 0.4, 0.8, 1.6, 3.2)  # seconds between tries, enough for a server that is restarted
PATIENCE = 20.0  # seconds of waiting after which nothing is tried again: one may be frozen
FAILED = 500  # from this status on a server was not able to answer
STATUS = re.compile(r"failed with error code (\d{3})")  # as MLflow's client writes it
STATUS_OF_CODE = {"UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403}
# the network errors of the client of S3, which MLflow's client may use itself
OF_S3 = ("HTTPClientError", "ConnectionError", "EndpointConnectionError", "ConnectionClosedError")


class UnreachableError(InputError):
    """The MLflow server does not answer."""


def no_answer(error: BaseException) -> bool:
    """Whether an error says that the server did not answer, or was not able to."""
    return any(_of_the_network(cause) for cause in causes(error))


def _of_the_network(error: BaseException) -> bool:
    """Whether MLflow's HTTP client, which is not ours to import, raised an error.

    An answer with a status below 500 is one; above, the server failed.
    """
    answer = getattr(error, "response", None)
    if isinstance(status := getattr(answer, "status_code", None), int) and status < FAILED:
        return False
    kinds = [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]
    own = isinstance(error, (ConnectionError, TimeoutError))
    return own or any(
        module in ("requests", "urllib3") or (module == "botocore" and name in OF_S3)
        for module, name in kinds
    )


def status_of(error: BaseException) -> int | None:
    """The status of the answer of an HTTP server that is behind an error; None without one."""
    for cause in causes(error):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        if found := STATUS.search(str(cause)):
            return int(found[1])
        if known := STATUS_OF_CODE.get(str(getattr(cause, "error_code", ""))):
            return known
    return None


def reason(error: BaseException) -> str:
    """Why there was no answer, in a word or two."""
    ours = ("MlflowException", "UnreachableError")
    names = [type(cause).__name__ for cause in causes(error)]
    found = next((name for name in names if name not in ours), names[0])
    status = status_of(error) if found == "HTTPError" else None
    return f"{found} {status}" if status else found


def asked(call: Callable[[bool], T], patience: float = PATIENCE) -> T:
    """The answer to a call, tried for a while. UnreachableError where nobody answers.

    Only what is waited in this call counts, and not how long it worked before it was cut off. The
    call is told whether it was made before: what it asked for may have been done, and the answer
    lost.
    """
    waited, tries = 0.0, 0
    while True:
        began = time.monotonic()
        try:
            return call(tries > 0)
        except Exception as error:  # MLflow has one class for everything
            if not no_answer(error):
                raise
            if _timed_out(error):  # else it was answered as long as it lasted, as a large file is
                waited += time.monotonic() - began
            if tries == len(PAUSES) or waited >= patience:
                raise UnreachableError(f"MLflow does not answer ({reason(error)})") from error
        time.sleep(PAUSES[tries])
        waited += PAUSES[tries]
        tries += 1


def _timed_out(error: BaseException) -> bool:
    return any("Timeout" in type(cause).__name__ for cause in causes(error))


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, and what led to it."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
