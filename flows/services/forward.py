"""Hands a request or a websocket on to a server that listens on a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

import httpx
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, WebSocketException

Headers = list[tuple[bytes, bytes]]
# they speak of one connection, not of the message (RFC 9110, 7.6.1)
HOP = frozenset((
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
    b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
))  # fmt: skip
# who asks was checked already, and from where is for nobody to claim
OURS = frozenset((b"authorization", b"forwarded"))
NOT_READY = "the server behind this address does not answer; try again in a few seconds"


class Forward:
    """An application that answers with what the server at the other end of `socket` answers.

    Nothing is stored, and nothing changed but headers: those of the connection, and the cookie
    `dropped`, which the server has no use for. A server that is not there is 503: Prefect's clients
    try again.
    """

    def __init__(self, socket: Path, scheme: str, dropped: str) -> None:
        self.socket, self.scheme = str(socket), scheme.encode()
        self.dropped = dropped.encode()
        # a connection costs little here; one that is kept could be closed just when it is used
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        # below httpx's client, which would add headers, keep cookies and follow redirects
        self.transport = httpx.AsyncHTTPTransport(uds=self.socket, limits=limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(WebSocket(scope, receive, send))
        else:
            await self._request(Request(scope, receive), send)

    async def _request(self, request: Request, send: Send) -> None:
        scope, receive = request.scope, request.receive
        has_body = {"content-length", "transfer-encoding"} & set(request.headers)
        onward = httpx.Request(
            request.method,
            httpx.URL("http://server").copy_with(raw_path=_target(scope)),
            headers=self._passed_on(scope),
            content=request.stream() if has_body else None,
        )
        try:
            answer = await self.transport.handle_async_request(onward)
        except httpx.TransportError as error:
            text = f"{NOT_READY} ({type(error).__name__})"
            await PlainTextResponse(text, 503, {"Retry-After": "2"})(scope, receive, send)
            return
        response = StreamingResponse(answer.aiter_raw(), answer.status_code)
        response.raw_headers = _without(answer.headers.raw, HOP)
        try:
            await response(scope, receive, send)
        finally:
            await answer.aclose()

    async def _websocket(self, browser: WebSocket) -> None:
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._passed_on(browser.scope)
            if name not in (b"host", b"user-agent") and not name.startswith(b"sec-websocket-")
        ]
        offered = browser.scope["subprotocols"]
        target = _target(browser.scope).decode("latin-1")
        try:
            server = await unix_connect(
                self.socket,
                f"ws://{browser.headers['host']}{target}",
                subprotocols=offered or None,
                additional_headers=headers,
                # Prefect reads the version of its client here
                user_agent_header=browser.headers.get("user-agent"),
                compression=None,
                max_size=None,
                ping_interval=None,
            )
        except (OSError, WebSocketException):
            await browser.close(1013)  # before it is accepted, which is 403 to the browser
            return
        async with server:
            await browser.accept(server.subprotocol)
            await _both_ways(browser, server)

    def _passed_on(self, scope: Scope) -> Headers:
        kept = [
            (name, value if name != b"cookie" else self._cookies(value))
            for name, value in _without(scope["headers"], HOP | OURS)
            if not name.startswith(b"x-forwarded-")
        ]
        return [*((n, v) for n, v in kept if v), (b"x-forwarded-proto", self.scheme)]

    def _cookies(self, header: bytes) -> bytes:
        pairs = (one.strip() for one in header.split(b";"))
        return b"; ".join(one for one in pairs if one.partition(b"=")[0] != self.dropped)


async def _both_ways(browser: WebSocket, server: ClientConnection) -> None:
    """Pass messages on until one side closes, then close the other in the same way."""
    ways = [
        asyncio.create_task(_to_server(browser, server)),
        asyncio.create_task(_to_browser(browser, server)),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _to_server(browser: WebSocket, server: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            message = await browser.receive()
            if message["type"] == "websocket.disconnect":
                await server.close(*_closing(message.get("code"), message.get("reason")))
                return
            text = message.get("text")
            await server.send(message["bytes"] if text is None else text)


async def _to_browser(browser: WebSocket, server: ClientConnection) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it left in the meantime
        with contextlib.suppress(ConnectionClosed):  # with a code that means more than "done"
            async for message in server:
                if isinstance(message, str):
                    await browser.send_text(message)
                else:
                    await browser.send_bytes(message)
        await browser.close(*_closing(server.close_code, server.close_reason))


def _closing(code: int | None, reason: str | None) -> tuple[int, str]:
    """A code that may be sent: 1005, 1006 and 1015 only say that none came (RFC 6455, 7.4.1)."""
    sendable = {None: 1000, 1005: 1000, 1006: 1011, 1015: 1011}.get(code, code)
    return sendable or 1000, reason or ""


def _target(scope: Scope) -> bytes:
    """Path and query, exactly as they came."""
    query: bytes = scope["query_string"]
    path: bytes = scope["raw_path"]
    return path + b"?" + query if query else path


def _without(headers: Iterable[tuple[bytes, bytes]], names: frozenset[bytes]) -> Headers:
    lower = [(name.lower(), value) for name, value in headers]
    # a sender may name more headers that are for one connection alone
    named = {one.strip().lower() for n, v in lower if n == b"connection" for one in v.split(b",")}
    return [(name, value) for name, value in lower if name not in names | named]
