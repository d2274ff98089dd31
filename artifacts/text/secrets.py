"""Secrets are not told: passwords in addresses, and what the environment keeps secret.

Other people's errors quote what they were given, and our lines end on disks, in databases and in
the logs of others. So whatever leaves a process as a message goes through here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 8  # characters of a value that is hidden; a shorter one would be found in plain words
# `https://user:password@`, `https://token@`; a path that was made of it has one slash left, and
# `models:/NAME@ALIAS` is none
_LOGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:)(//[^\s/]+|/[^\s/:]+:[^\s/]+)@")
_NAMES = "token|secret|password|passwd|pwd|api_?key|access_?key|signature|sig|credentials?"
_PARAMETER = re.compile(rf"([?&;](?:[\w-]*[_-])?(?:{_NAMES})=)[^&;#\s'\"]+", re.IGNORECASE)
# `user:password@host` as the whole value of a variable, however it is written before and after
_MISTYPED = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?/{0,3}[^\s:/@]+:([^\s/]\S*)@\S+")
# also PGPASSWORD and AZURE_STORAGE_ACCOUNT_KEY; PWD and OLDPWD are folders
_VARIABLE = re.compile(
    r"(?:(?:^|_)(?:TOKEN|SECRET|APIKEY|KEY|CREDENTIALS?|AUTH_STRING|CUSTOM_HEADERS"
    r"|CONNECTION_STRING)|PASSWORD|PASSWD|_PWD)(?:_ID|_BASE64)?$",
    re.IGNORECASE,
)


def without_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """A text with `***` for logins in addresses, secret parameters, and secrets of the environment.

    A variable is secret by its name, such as `HF_TOKEN` or `AWS_SECRET_ACCESS_KEY`; of one that
    holds an address with a login, such as `MLFLOW_TRACKING_URI`, the password is, also where the
    address is mistyped.
    """
    for value in _secrets(environment):
        text = text.replace(value, HIDDEN)
    for password in _longest_first(_passwords(environment)):  # `postgres` is not in `postgresql`
        text = re.sub(rf"(?<!\w){re.escape(password)}(?!\w)", HIDDEN, text)
    if ":/" in text:
        text = _LOGIN.sub(lambda found: f"{found[1]}{_slashes(found[2])}{HIDDEN}@", text)
    return _PARAMETER.sub(rf"\1{HIDDEN}", text) if "=" in text else text


def names_secret(variable: str) -> bool:
    """Whether an environment variable holds a secret, by its name."""
    return _VARIABLE.search(variable) is not None


@contextmanager
def hiding_secrets() -> Iterator[None]:
    """What the block raises says no secret, and neither do its causes, whoever quotes them."""
    try:
        yield
    except BaseException as error:
        seen: set[int] = set()
        found: BaseException | None = error
        while found is not None and id(found) not in seen:
            seen.add(id(found))
            _hide(found)
            found = found.__cause__ or found.__context__
        raise


def _hide(error: BaseException) -> None:
    error.args = tuple(_hidden(one) for one in error.args)
    for name, value in dict(getattr(error, "__dict__", {})).items():
        if isinstance(value, str):
            setattr(error, name, without_secrets(value))
    if isinstance(error, OSError):  # what it says is not made of its arguments
        error.filename = _hidden(error.filename)


def _hidden(value: object) -> object:
    return without_secrets(value) if isinstance(value, str) else value


def _secrets(environment: Mapping[str, str]) -> list[str]:
    return _longest_first(
        value.strip() for name, value in environment.items() if _VARIABLE.search(name)
    )


def _passwords(environment: Mapping[str, str]) -> Iterator[str]:
    """Those of addresses, as they stand there and as a server is told them."""
    for value in environment.values():
        _, mark, rest = value.partition("://")
        login, at, _ = rest.partition("/")[0].rpartition("@")
        if mark and at and ":" in login:
            written = login.partition(":")[2]
            yield written
            yield unquote(written)
        elif mistyped := _MISTYPED.fullmatch(value.strip()):
            yield mistyped[1]


def _longest_first(found: Iterable[str]) -> list[str]:
    """One may be a part of another."""
    return sorted({one for one in found if len(one) >= SHORTEST}, key=len, reverse=True)


def _slashes(login: str) -> str:
    return "//" if login.startswith("//") else "/"
