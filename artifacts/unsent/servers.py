"""Which server a file of records is for: an address can be written in many ways, and can move."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from artifacts.unsent.journal import Kept

PORTS = {"http": 80, "https": 443}
LOGIN = re.compile(r"//[^/?]*@")
HERE = ("localhost", "127.0.0.1", "::1")  # ways to write this machine


@dataclass(frozen=True)
class Server:
    """A server: where it answers, and what tells it from others; empty where that is not known."""

    address: str
    identity: str = ""

    def is_meant_by(self, kept: Kept) -> bool:
        """Whether a file of records is for this server.

        Where one of them does not know the identity, as earlier versions did not, the addresses
        are compared.
        """
        if self.identity and kept.server:
            return self.identity == kept.server
        return same_address(self.address, kept.address)


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are the same, but for how they are written."""
    return _plain(one) == _plain(other)


def without_password(address: str) -> str:
    """An address as it may be kept: without a login, and without what follows a `?`.

    A token can stand in the place of a user's name.
    """
    scheme, sep, rest = address.partition("?")[0].partition("://")
    login, slash, path = rest.partition("/")
    return scheme + sep + login.rpartition("@")[2] + slash + path


def _plain(address: str) -> tuple[object, ...]:
    address = LOGIN.sub("//", address)  # earlier versions kept a user's name
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return (address,)
    host = "localhost" if host in HERE else host
    return parts.scheme, host, port, parts.path.rstrip("/"), parts.query
