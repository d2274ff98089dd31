"""Who gets through to a server: a browser with a session on its own address, a program's secret."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from flows.orchestration.up_file import LINKS, PROOF, proof
from flows.services.gate import COOKIE, LINK, BrowserGate, ProgramGate, Site
from flows.services.keys import Keys

SITE = Site.of("http", "threeloops-1.localhost", 4200)
PROGRAMS = Site.of("http", "127.0.0.1", 5555)
TO_A_PAGE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}


async def server(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Prefect's or MLflow's server, which answers everybody."""
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).accept()
    else:
        await PlainTextResponse("inside")(scope, receive, send)


class Client:
    """Asks an application without a network, and keeps cookies as a browser does."""

    def __init__(self, application: ASGIApp, site: Site, **headers: str) -> None:
        self.application, self.site, self.headers = application, site, headers
        self.cookies = httpx.Cookies()

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """One request."""

        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.application)
            async with httpx.AsyncClient(
                transport=transport, base_url=str(self.site), cookies=self.cookies
            ) as client:
                return await client.request(
                    method, path, headers={**self.headers, **(headers or {})}
                )

        answer = asyncio.run(ask())
        self.cookies.update(answer.cookies)
        return answer

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        return self.request("GET", path, headers)

    def opens(self, **headers: str) -> bool:
        """Whether a websocket is accepted."""
        kept = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"host": self.site.authority, "cookie": kept, **self.headers, **headers}
        scope = {
            "type": "websocket",
            "path": "/api/events/out",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        }
        answers: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            answers.append(message)

        asyncio.run(self.application(scope, receive, send))  # type: ignore[arg-type]
        (answer,) = answers
        return bool(answer["type"] == "websocket.accept")


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def stranger(keys: Keys, told: list[str]) -> Client:
    """A browser that has opened no link."""
    return Client(BrowserGate(server, keys, SITE, told.append), SITE)


@pytest.fixture
def browser(stranger: Client, keys: Keys) -> Client:
    """A browser that has."""
    assert stranger.get(f"{LINK}{keys.new_link()}").status_code == 200
    return stranger


@pytest.fixture
def program(keys: Keys) -> Client:
    gate = ProgramGate(server, keys, PROGRAMS, lambda: {"Prefect": "http://a/1"})
    secret = {"authorization": f"Bearer {keys.secret}"}
    return Client(gate, PROGRAMS, **secret)


def test_a_link_lets_one_browser_in_once(stranger: Client, keys: Keys, told: list[str]) -> None:
    assert stranger.get("/").status_code == 401
    link = f"{LINK}{keys.new_link()}"
    opened = stranger.get(link)
    assert opened.status_code == 200
    assert told == ["a browser opened a link"]
    cookie = opened.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert stranger.get("/").text == "inside"
    stranger.cookies.clear()
    assert stranger.get(link).status_code == 403
    assert stranger.get("/").status_code == 401


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_only_an_opened_link_is_used_up(stranger: Client, keys: Keys, method: str) -> None:
    link = f"{LINK}{keys.new_link()}"
    assert stranger.request(method, link).status_code == 403
    assert stranger.get(link).status_code == 200


def test_with_tls_the_cookie_is_for_tls_alone(keys: Keys, told: list[str]) -> None:
    site = Site.of("https", "box.example", 443)
    assert str(site) == "https://box.example"
    client = Client(BrowserGate(server, keys, site, told.append), site)
    assert "; Secure" in client.get(f"{LINK}{keys.new_link()}").headers["set-cookie"]
    assert client.get("/").text == "inside"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1:4200", "localhost:4200", "threeloops-1.localhost",
     "threeloops-1.localhost:5000", "threeloops-1.localhost:4200.evil.example", ""],
)  # fmt: skip
def test_a_foreign_host_is_refused_with_a_session_too(browser: Client, host: str) -> None:
    answer = browser.get("/", headers={"Host": host})
    assert answer.status_code == 403
    assert "threeloops-1" not in answer.text, "the name is a secret"
    assert not browser.opens(host=host, origin=str(SITE))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://threeloops-1.localhost:5000"},
        {"origin": "https://threeloops-1.localhost:4200"},
        {},  # a browser always names it
        {"origin": str(SITE), "sec-fetch-site": "same-site"},
    ],
)
def test_a_change_from_another_page_is_refused(browser: Client, headers: dict[str, str]) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        answer = browser.request(method, "/api/flows/", headers=headers)
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


def test_a_change_from_the_page_itself_gets_through(browser: Client) -> None:
    ours = {"origin": str(SITE), "sec-fetch-site": "same-origin"}
    assert browser.request("POST", "/api/flows/", headers=ours).text == "inside"
    assert browser.request("POST", "/api/flows/", headers={"origin": str(SITE)}).text == "inside"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({**TO_A_PAGE, "sec-fetch-dest": "document"}, 200),
        ({**TO_A_PAGE, "sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"origin": "http://evil.example"}, 403),
    ],
)
def test_another_page_may_link_to_here_and_nothing_else(
    browser: Client, headers: dict[str, str], status: int
) -> None:
    assert browser.get("/", headers=headers).status_code == status


def test_a_websocket_needs_the_session_and_the_pages_origin(
    browser: Client, told: list[str]
) -> None:
    assert browser.opens(origin=str(SITE))
    assert not browser.opens()
    assert not browser.opens(origin="http://evil.example")
    browser.cookies.clear()
    assert not browser.opens(origin=str(SITE))


def test_the_programs_secret_opens_no_page(stranger: Client, keys: Keys) -> None:
    secret = {"Authorization": f"Bearer {keys.secret}"}
    assert stranger.get("/", headers=secret).status_code == 401
    assert stranger.get("/", headers={"Cookie": f"{COOKIE}={keys.secret}"}).status_code == 401


def test_a_page_may_not_be_framed_and_its_address_not_leak(browser: Client) -> None:
    answer = browser.get("/")
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    # with no-referrer a browser would send `Origin: null` with forms of the page itself
    assert answer.headers["referrer-policy"] == "same-origin"


def test_a_program_that_knows_the_secret_gets_through(program: Client) -> None:
    assert program.request("POST", "/api/flows/").text == "inside"
    assert program.opens()
    assert program.request("POST", LINKS).json() == {"Prefect": "http://a/1"}


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": ""},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic {secret}"},
        {"authorization": "{secret}"},
        {"host": "evil.example"},
        {"host": "localhost:5555"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:5555"},
        {"sec-fetch-site": "same-origin"},
    ],
)
def test_nobody_else_gets_through_to_where_programs_go(
    program: Client, keys: Keys, headers: dict[str, str]
) -> None:
    wrong = {name: value.format(secret=keys.secret) for name, value in headers.items()}
    for path in ("/api/health", LINKS):
        assert program.request("POST", path, headers=wrong).status_code in (401, 403)
    assert not program.opens(**wrong)


def test_a_session_is_not_for_programs(program: Client, keys: Keys) -> None:
    session: Any = keys.open_link(keys.new_link())
    headers = {"authorization": f"Bearer {session}", "cookie": f"{COOKIE}={session}"}
    assert program.get("/api/health", headers=headers).status_code == 401


def test_the_server_shows_that_it_knows_the_secret(program: Client, keys: Keys) -> None:
    answer = program.get(f"{PROOF}question", headers={"authorization": ""})
    assert answer.text == proof(keys.secret, "question")
    assert keys.secret not in answer.text
