"""The addresses at which a browser finds Prefect's and MLflow's pages."""

from __future__ import annotations

import ipaddress
import re
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from artifacts.store.atomic_file import write_atomic
from artifacts.store.data_dir import DataDir
from flows.services.door import Certificate
from flows.services.gate import Site
from flows.services.ports import LOOPBACK, is_loopback
from schemas.errors import InputError

NAME_FILE = "up.name"


@dataclass(frozen=True)
class Addresses:
    """What the options of `threeloops up` say."""

    prefect_port: int = 4200
    mlflow_port: int = 5000
    host: str = LOOPBACK
    name: str | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_http: bool = False

    @property
    def certificate(self) -> Certificate | None:
        """The certificate, if one is given and can be used; else InputError."""
        if self.tls_cert is None and self.tls_key is None:
            return None
        if self.tls_cert is None or self.tls_key is None:
            raise InputError(
                "one of the two files is missing", "--tls-cert and --tls-key", "give both"
            )
        certificate = Certificate(self.tls_cert, self.tls_key)
        certificate.check()
        return certificate

    def check(self) -> None:
        """InputError when others could listen in, and nobody said that they may."""
        if self.certificate is None and not self.insecure_http and not is_loopback(self.host):
            raise InputError(
                "without TLS everybody on the way can read and take over what a browser sends",
                f"--host {self.host}",
                "add --tls-cert FILE --tls-key FILE, or --insecure-http if you trust the network",
            )

    def site(self, data_dir: DataDir, listener: socket.socket) -> Site:
        """The address in a browser of what listens on a socket."""
        scheme = "https" if self.certificate else "http"
        return Site.of(scheme, self._name(data_dir), listener.getsockname()[1])

    def _name(self, data_dir: DataDir) -> str:
        if self.name:
            return self.name
        if is_loopback(self.host):
            return own_name(data_dir)
        try:
            everywhere = ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return self.host
        return socket.getfqdn() if everywhere else self.host


def own_name(data_dir: DataDir) -> str:
    """A name below `localhost` that only this user knows, kept, so that stored links stay valid.

    A browser sends a cookie to every port of a name. Another user of this machine may have a server
    on a port of 127.0.0.1 or localhost, and would be sent ours. Browsers find every name below
    localhost on this machine, and ask nobody for it.
    """
    path = data_dir.root / NAME_FILE
    if path.exists() and re.fullmatch(r"threeloops-[0-9a-f]{16}", text := path.read_text().strip()):
        return f"{text}.localhost"
    name = f"threeloops-{secrets.token_hex(8)}"
    write_atomic(path, name.encode())
    return f"{name}.localhost"
