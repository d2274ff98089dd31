"""Lets a request through to a server only from a browser or a program that may speak to it.

A browser must have opened one of our links, and ask from a page of the same address: another web
page in it is another origin. A program must know the secret, and no browser sends it.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from flows.orchestration.up_file import LINKS, OWN, PROOF, proof
from flows.services.keys import Keys

COOKIE = "threeloops_session"
LINK = f"{OWN}open/"
SAFE = ("GET", "HEAD")
NEW_LINK = "`threeloops up` in another terminal, for the same data folder, prints a new link."
# a browser that came from elsewhere sends a strict cookie only from the next page on
OPENED = '<!doctype html><meta http-equiv="refresh" content="0;url=/"><a href="/">Go on</a>'


@dataclass(frozen=True)
class Site:
    """The one address at which a browser sees a server: scheme, and name with port."""

    scheme: str
    authority: str

    @classmethod
    def of(cls, scheme: str, name: str, port: int) -> Site:
        """As a browser writes it, which leaves out the port that the scheme has anyway."""
        name = f"[{name}]" if ":" in name else name.lower()
        usual = {"http": 80, "https": 443}[scheme]
        return cls(scheme, name if port == usual else f"{name}:{port}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class BrowserGate:
    """For a browser that has opened a link of ours."""

    def __init__(
        self, server: ASGIApp, keys: Keys, site: Site, tell: Callable[[str], None]
    ) -> None:
        self.server, self.keys, self.site, self.tell = server, keys, site, tell

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        answer: Response | None = None
        if headers.getlist("host") != [self.site.authority]:
            answer = _page(f"This address is not served. {NEW_LINK}", 403)
        elif scope["type"] == "http" and scope["path"].startswith(OWN):
            answer = self._open(scope["method"], scope["path"])
        elif self._foreign(scope, headers):
            answer = _page("Refused: the request comes from another page.", 403)
        elif not self.keys.knows_session(_session(headers)):
            answer = _page(f"This page opens with a link. {NEW_LINK}", 401)
        if scope["type"] == "websocket" and answer:
            await WebSocketClose(1008)(scope, receive, send)
        else:
            await (answer or self.server)(scope, receive, _guarding(send))

    def _open(self, method: str, path: str) -> Response:
        token = path.removeprefix(LINK) if path.startswith(LINK) else ""
        session = self.keys.open_link(token) if method == "GET" else None
        if session is None:
            return _page(f"This link was used, or is more than an hour old. {NEW_LINK}", 403)
        # whoever did not do this knows that somebody else did
        self.tell("a browser opened a link")
        opened = HTMLResponse(OPENED, headers={"Cache-Control": "no-store"})
        secure = self.site.scheme == "https"
        opened.set_cookie(COOKIE, session, httponly=True, samesite="strict", secure=secure)
        return opened

    def _foreign(self, scope: Scope, headers: Headers) -> bool:
        """Whether a browser says that the request does not come from a page of this address.

        Browsers name the origin with every websocket and every request that may change something.
        """
        origins, fetch_site = headers.getlist("origin"), headers.get("sec-fetch-site")
        if origins not in ([], [str(self.site)]):
            return True
        if scope["type"] == "websocket":
            return not origins
        if scope["method"] not in SAFE:
            return not origins or fetch_site not in (None, "same-origin")
        if fetch_site in (None, "none", "same-origin"):
            return False
        # somebody follows a link to here, such as one on the other server's page
        navigates = headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")
        return navigates != ("navigate", "document")


class ProgramGate:
    """For commands and flow runs of this user, which know the secret."""

    def __init__(
        self, server: ASGIApp, keys: Keys, site: Site, links: Callable[[], dict[str, str]]
    ) -> None:
        self.server, self.keys, self.site, self.links = server, keys, site, links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = Headers(scope=scope), str(scope["path"])
        scheme, _, given = headers.get("authorization", "").partition(" ")
        application: ASGIApp = self.server
        if headers.getlist("host") != [self.site.authority]:
            application = PlainTextResponse("this address is not served", 403)
        elif "origin" in headers or "sec-fetch-site" in headers:
            application = PlainTextResponse("a browser has no business here", 403)
        elif path.startswith(PROOF):
            application = PlainTextResponse(proof(self.keys.secret, path.removeprefix(PROOF)))
        elif scheme != "Bearer" or not self.keys.is_secret(given):
            application = PlainTextResponse("this needs the secret of `threeloops up`", 401)
        elif path == LINKS:
            application = JSONResponse(self.links())
        if scope["type"] == "websocket" and application is not self.server:
            application = WebSocketClose(1008)
        await application(scope, receive, send)


def _session(headers: Headers) -> str:
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _page(text: str, status: int) -> Response:
    return HTMLResponse(f"<!doctype html><title>threeloops</title><p>{html.escape(text)}", status)


def _guarding(send: Send) -> Send:
    """Add what keeps a page out of another site's frame, and its address out of other sites."""

    async def send_on(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("X-Frame-Options", "SAMEORIGIN")
            headers.setdefault("Referrer-Policy", "same-origin")
            headers.setdefault("X-Content-Type-Options", "nosniff")
        await send(message)

    return send_on
