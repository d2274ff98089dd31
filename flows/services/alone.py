"""Prefect's server for one command, as a program: it answers that command alone, and ends with it.

It is given the open socket to listen on as its last argument. On stdin it is given the secret that
the command sends with every request, so that no other user can read it; when stdin ends, the
command has ended, however that happened.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
import threading
import time

import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from flows.services.gate import ProgramGate, Site
from flows.services.keys import Keys
from flows.services.ports import LOOPBACK

HEALTH = "/api/health"  # asked by Prefect's client, without the secret, until the server answers
STOP_SECONDS = 5.0


class OwnGate(ProgramGate):
    """For the one command that knows the secret; everybody may ask whether the server is well."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._asks_for_health(scope):
            await self.server(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def _asks_for_health(self, scope: Scope) -> bool:
        headers = Headers(scope=scope)
        return (
            (scope["type"], scope.get("method"), scope["path"]) == ("http", "GET", HEALTH)
            and headers.getlist("host") == [self.site.authority]
            and "origin" not in headers
        )


def guarded(server: ASGIApp, secret: str, port: int) -> OwnGate:
    """A server on a port of loopback, for those who know the secret and are no browser."""
    return OwnGate(server, Keys(secret), Site.of("http", LOOPBACK, port), dict)


def main() -> None:
    """Serve until the command ends, or a signal comes."""
    secret = sys.stdin.readline().strip()
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    listener = socket.socket(fileno=int(sys.argv[-1]))
    from prefect.server.api.server import create_app

    application = guarded(create_app(), secret, listener.getsockname()[1])
    gc.freeze()
    gc.enable()  # whoever starts this program may disable it while it imports
    server = uvicorn.Server(
        uvicorn.Config(application, log_level="error", lifespan="on", proxy_headers=False)
    )
    server.run([listener])


def _end_with_the_command() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
