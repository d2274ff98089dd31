"""The ports that `threeloops up` listens on, and the thread that answers there."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from schemas.errors import InputError


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate for TLS, and of its key."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """InputError when the two cannot be used."""
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.certificate, self.key
            )
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"the certificate cannot be used ({error.strerror or error})",
                f"--tls-cert {self.certificate} --tls-key {self.key}",
                "give a PEM file with the certificate and one with its key, without a password",
            ) from None


@dataclass(frozen=True)
class Entrance:
    """What answers on a listening socket."""

    listener: socket.socket
    application: ASGIApp
    certificate: Certificate | None = None

    def server(self) -> uvicorn.Server:
        tls = self.certificate
        return uvicorn.Server(
            uvicorn.Config(
                self.application,
                ws="websockets-sansio",
                ws_max_size=2**30,  # what is too large is for the server behind to say
                lifespan="off",
                log_config=None,
                access_log=False,  # it would have the links
                date_header=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=2,
                ssl_certfile=tls.certificate if tls else None,
                ssl_keyfile=tls.key if tls else None,
            )
        )


class Door:
    """Answers at several entrances in one thread, until it is left; what goes wrong is in `log`.

    The sockets stay open as long as this process lives, so nobody else can take a port meanwhile.
    """

    def __init__(self, entrances: Sequence[Entrance], log: Path) -> None:
        written = logging.FileHandler(log, "w", delay=True)
        written.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger = logging.getLogger("uvicorn")
        logger.handlers, logger.propagate = [written], False
        logger.setLevel(logging.WARNING)
        self._entrances = entrances
        self._servers = [entrance.server() for entrance in entrances]
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Door:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.should_exit = True
        self._thread.join(10)

    @property
    def answers(self) -> bool:
        """False once the thread has ended, which only a defect does."""
        return self._thread.is_alive()

    async def _serve(self) -> None:
        pairs = zip(self._servers, self._entrances, strict=True)
        await asyncio.gather(*(server.serve([entrance.listener]) for server, entrance in pairs))
