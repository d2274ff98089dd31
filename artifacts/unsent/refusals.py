"""What MLflow, its database or its store of files refuses, in one line with what to do."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from artifacts.text.secrets import without_secrets
from artifacts.text.visible import printable
from artifacts.unsent.answers import causes, status_of
from schemas.errors import InputError, ThreeLoopsError

LONGEST = 200  # characters of what a server says
LOGIN = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, for it"
)
RIGHTS = "ask for the right to it, or name another experiment (--experiment NAME)"
EXTRA = {"psycopg2": "mlflow-server", "boto3": "mlflow-server"}  # our extra with a package
STORE_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
KEY_FAULTS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")


@contextlib.contextmanager
def in_one_line(where: str, doing: str) -> Iterator[None]:
    """What the block raises as InputError: what was refused, where, and what to do.

    `doing` is what was tried, such as `its files cannot be written`. Our own errors, and those of
    the machine that runs us, pass.
    """
    try:
        yield
    except (ThreeLoopsError, OSError) as error:
        if isinstance(error, ThreeLoopsError) or status_of(error) is None:
            raise
        raise _as_input(error, where, doing) from error
    except Exception as error:  # MLflow, SQLAlchemy and the clients of stores have many kinds
        raise _as_input(error, where, doing) from error


def forbids(error: BaseException) -> bool:
    """Whether a server wants a login, or says that this user may not."""
    return status_of(error) in (401, 403)


def _as_input(error: BaseException, where: str, doing: str) -> InputError:
    what, remedy = explained(error)
    return InputError(f"{doing}: {what}" if doing else what, where, remedy)


def explained(error: BaseException) -> tuple[str, str]:
    """What an error says, in short and without secrets, and what to do about it."""
    for cause in causes(error):
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            package = cause.name.partition(".")[0]
            extra = EXTRA.get(package)
            remedy = f"install threeloops[{extra}]" if extra else f"install {package}"
            return f"the package {package} is missing", remedy
        if type(cause).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
            return "the store of files wants keys, and there are none", STORE_KEYS
    for cause in causes(error):  # whatever MLflow makes of it
        if type(cause).__module__.partition(".")[0] in ("botocore", "boto3"):
            return _of_the_store(_first_line(cause))
    text = _first_line(error)
    status = status_of(error)
    if status == 401:
        return "the server wants a login that it knows (401)", LOGIN
    if status == 403:
        return "the server does not allow it (403)", RIGHTS
    if status is not None:
        return f"it answers {status}: {text}", "see whether it is an MLflow server, and its log"
    return text, "see whether the address, the user and the password are right"


def _of_the_store(text: str) -> tuple[str, str]:
    """What a bucket refuses: keys that it does not know, or that may not do this."""
    if any(fault in text for fault in KEY_FAULTS):
        return text, STORE_KEYS
    return text, "give its keys the right to read and write there, or name another experiment"


def _first_line(error: BaseException) -> str:
    """The first line of what the error closest to the cause says, without a page of HTML."""
    text = re.sub(r"Response body:.*", "", str(error), flags=re.DOTALL)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = printable(without_secrets(lines[0] if lines else type(error).__name__))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"
