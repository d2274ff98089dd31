"""Which server a file of records is for: an address can be written in many ways, and can move."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from artifacts.store.data_dir import DataDir
from artifacts.unsent.answers import UnreachableError, asked
from artifacts.unsent.journal import Kept, read_kept, unsent_files
from schemas.errors import StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient

PORTS = {"http": 80, "https": 443}
LOGIN = re.compile(r"//[^/?]*@")
WRITTEN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:(?=/))?(/*)(.*)", re.DOTALL)  # `http:`, `//`, rest
PASSWORD = re.compile(r"[^/]*:[^/]*@")
OF_FILES = ("", "file", "sqlite")  # schemes in whose addresses a path may have an `@` in it
HERE = ("localhost", "127.0.0.1", "::1")  # ways to write this machine


@dataclass(frozen=True)
class Server:
    """A server: where it answers, and what tells it from others; empty where that is not known.

    `registry` is where its registry answers, if elsewhere. `others` are more identities of the same
    server: those of experiments that other commands use.
    """

    address: str
    identity: str = ""
    registry: str = ""
    others: frozenset[str] = frozenset()

    @property
    def shown(self) -> str:
        """Who may be away or refuse, as it may be shown: of two servers it is not known which."""
        places = dict.fromkeys((self.address, self.registry or self.address))
        servers = [one for one in places if urlsplit(one).scheme in PORTS]
        return " or ".join(map(without_password, servers or [self.address]))

    def is_meant_by(self, kept: Kept) -> bool:
        """Whether a file of records is for this server.

        Where one of them does not know the identity, as earlier versions did not, the addresses
        are compared.
        """
        if self.identity and kept.server:
            return kept.server in {self.identity, *self.others}
        return same_address(self.address, kept.address)


def servers_of(client: MlflowClient, data_dir: DataDir, to: str, server: Server) -> frozenset[str]:
    """The identities in files of records that a server has too: of its other experiments."""
    found = set()
    for path in unsent_files(data_dir, to):
        try:
            found.add(read_kept(path).server)
        except (FileNotFoundError, StoreError):  # sent meanwhile, or damaged
            continue
    return frozenset(one for one in found - {"", server.identity} if _has(client, one))


def _has(client: MlflowClient, identity: str) -> bool:
    """Whether a server has the experiment with this id and time of creation."""
    from mlflow.exceptions import MlflowException

    experiment, _, created = identity.partition(" ")
    try:
        found = asked(lambda again: client.get_experiment(experiment), patience=0)
    except (MlflowException, UnreachableError):
        return False
    return str(found.creation_time) == created


def same_address(one: str, other: str) -> bool:
    """Whether two addresses are the same, but for how they are written."""
    return _plain(one) == _plain(other)


def without_password(address: str) -> str:
    """An address as it may be kept: without a login, and without what follows a `?`.

    A token can stand in the place of a user's name. An address may be mistyped, and a password may
    hold a `/` or a `?`, so whatever stands before the last `@` is taken for a login.
    """
    found = WRITTEN.fullmatch(address)
    assert found is not None  # every text is of this form
    scheme, slashes, rest = found.groups(default="")
    head, query = rest.partition("?")[::2]
    kind = scheme.rstrip(":").partition("+")[0]
    if kind in OF_FILES and slashes and slashes != "//" and not PASSWORD.match(rest):
        return scheme + slashes + head
    _, login, place = head.rpartition("@")
    port = place.partition("/")[0].partition(":")[2]
    if "@" in query and port and not (login and port.isdigit()):  # the password goes on behind it
        place = rest.rpartition("@")[2].partition("?")[0]
    return scheme + slashes + place


def _plain(address: str) -> tuple[object, ...]:
    address = LOGIN.sub("//", address)  # earlier versions kept a user's name
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return (address,)
    host = "localhost" if host in HERE else host
    return parts.scheme, host, port, parts.path.rstrip("/"), parts.query
