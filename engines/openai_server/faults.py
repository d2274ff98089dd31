"""What went wrong between us and a server, and whether asking again can help."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from artifacts.text.secrets import without_secrets
from artifacts.text.visible import printable
from schemas.errors import InputError

PASSING = (408, 409, 425, 500, 502, 503, 504)
LIMITED = 429
SPENT = "insufficient_quota"  # a rate limit that waiting does not lift
NOBODY = ("ConnectError", "ConnectTimeout")  # of httpx2, which only the client imports
LONGEST = 200  # characters of a server's words in a line of ours


@dataclass(frozen=True)
class Fault:
    """One failed request.

    - `status`: that of HTTP, 0 where there was none.
    - `passing`: whether the same request may work later.
    - `limited`: whether the server asks everybody to wait.
    - `wait_seconds`: how long it asks to wait, None where it does not say.
    """

    what: str
    where: str = "--base-url"
    remedy: str = ""
    status: int = 0
    passing: bool = False
    limited: bool = False
    wait_seconds: float | None = None


class AnswerError(InputError):
    """A server answered that it does not do what was asked, with this status (0 without one)."""

    def __init__(self, what: str, where: str = "", remedy: str = "", status: int = 0) -> None:
        super().__init__(what, where, remedy)
        self.status = status

    def __reduce__(self) -> tuple[type[AnswerError], tuple[Any, ...]]:
        return type(self), (self.what, self.where, self.remedy, self.status)


def fault_of(error: Exception, address: str) -> Fault:
    """What an error of the client means; neither the address nor a secret is in it."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    if isinstance(error, APIStatusError):
        return _of_status(error.status_code, error.body, address, error.response.headers)
    if isinstance(error, APITimeoutError):
        return Fault("the server did not answer in time", remedy=_RESTART, passing=True)
    if isinstance(error, APIConnectionError):
        nobody = any(type(cause).__name__ in NOBODY for cause in _causes(error))
        what = "nobody answers there" if nobody else "the server cut the connection"
        return Fault(what, remedy=_RESTART, passing=True)
    if isinstance(error, ValueError):
        return Fault("the server's answer is no JSON", remedy=_RESTART, passing=True)
    return Fault(f"the server cannot be asked ({type(error).__name__})", remedy=_RESTART)


def refused(fault: Fault, tries: int) -> AnswerError:
    """The one line on a request that will not be sent again."""
    often = f" ({tries} times)" if tries > 1 else ""
    return AnswerError(f"{fault.what}{often}", fault.where, fault.remedy, fault.status)


_RESTART = "see whether the server runs, then run the command again: it goes on where it was"


def fault_in(answer: Any, address: str) -> Fault | None:
    """What an answer with the status of success says went wrong, as some servers do; else None.

    Its `code`, where that is a status, counts as one.
    """
    if not isinstance(answer, Mapping) or answer.get("choices"):
        return None
    error = answer if answer.get("object") == "error" else answer.get("error")
    if not error:
        return None
    code = error.get("code") if isinstance(error, Mapping) else None
    if type(code) is int and 400 <= code < 600:
        return _of_status(code, error, address, {})
    what = f"the server answers with an error{_words(error, address)}"
    return Fault(what, remedy="see its log, and whether it can serve this model")


def _of_status(status: int, body: Any, address: str, headers: Mapping[str, str]) -> Fault:
    words = _words(body, address)
    if status == LIMITED and _code(body) != SPENT:
        return Fault("", limited=True, wait_seconds=retry_after(headers))
    if status in PASSING:
        wait = retry_after(headers)
        what = f"the server answers {status}{words}"
        return Fault(what, "--base-url", _RESTART, status, passing=True, wait_seconds=wait)
    what, where, remedy = f"the server answers {status}{words}", "--base-url", ""
    if status in (401, 403):  # its words may quote the key
        what = f"the server answers {status}: it does not accept the key"
        where, remedy = "OPENAI_API_KEY", "set it to a key that the server accepts"
    elif status == 404:
        where = "--base-url, --model"
        remedy = "give the address with its /v1, and the name that the server has for the model"
    elif status in (400, 422):
        remedy = (
            "where it refuses a parameter, --extra-body '{}' leaves out those that OpenAI's "
            "protocol does not have; where it refuses token ids, add --text-prompts"
        )
    return Fault(what, where, remedy, status)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, from a number or a date; None where it does not say."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        at = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, at.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _words(body: Any, address: str) -> str:
    """What a server says, on one line: `: The model does not exist`, or nothing."""
    said: Any = body
    for name in ("error", "message", "detail"):
        if isinstance(said, dict) and said.get(name):
            said = said[name]
    if said is None or said == {}:
        return ""
    line = " ".join(_without_address(without_secrets(str(said)), address).split())
    return f": {printable(line[:LONGEST])}"


def _without_address(text: str, address: str) -> str:
    """A server's words without where it is: the whole address, host and port, or the host."""
    split = urlsplit(address)
    for part in (address, split.netloc, split.hostname or ""):
        if part:
            alone = rf"(?<![\w.-]){re.escape(part)}(?![\w-])"
            text = re.sub(alone, "***", text, flags=re.IGNORECASE)
    return text


def _code(body: Any) -> Any:
    """The word that OpenAI's protocol has for an error, in its body or in the error itself."""
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    return inner.get("code") if isinstance(inner, Mapping) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
