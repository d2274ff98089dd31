"""What goes through to a server on a Unix socket, and back, is what was sent."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from flows.services.door import Certificate, Door, Entrance
from flows.services.forward import Forward
from flows.services.front import unix_sockets
from flows.services.ports import listen

COOKIE = "ours"


async def echo(request: Request) -> Response:
    """What came in, as JSON."""
    body = await request.body()
    answer = JSONResponse(
        {
            "method": request.method,
            "target": request.scope["raw_path"].decode() + "?" + request.url.query,
            "headers": [(name.decode(), value.decode()) for name, value in request.headers.raw],
            "size": len(body),
            "scheme": request.url.scheme,
        }
    )
    answer.set_cookie("a", "1")
    answer.set_cookie("b", "2")
    return answer


async def away(request: Request) -> Response:
    return RedirectResponse(str(request.url_for("echo", path="b")))


async def drip(request: Request) -> Response:
    """One line at once, the next after a long time."""

    async def lines() -> Any:
        yield b"first\n"
        await asyncio.sleep(30)
        yield b"second\n"

    return StreamingResponse(lines())


async def talk(socket: WebSocket) -> None:
    await socket.accept("prefect")
    await socket.send_json({"agent": socket.headers["user-agent"], "query": socket.url.query})
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "bye":
            await socket.close(4001, "as you wish")
            return
        if message.get("text") is not None:
            await socket.send_text(message["text"])
        else:
            await socket.send_bytes(message["bytes"])


async def deny(socket: WebSocket) -> None:
    await socket.close()


SERVER = Starlette(
    routes=[
        Route("/away", away),
        Route("/drip", drip),
        WebSocketRoute("/talk", talk),
        WebSocketRoute("/deny", deny),
        Route("/{path:path}", echo, methods=["GET", "POST", "DELETE"], name="echo"),
    ]
)


@pytest.fixture(scope="module")
def behind() -> Iterator[Path]:
    """The Unix socket of a server, in a folder as `up` makes it."""
    with unix_sockets() as sockets:
        config = uvicorn.Config(
            SERVER, uds=str(sockets.prefect), ws="websockets-sansio", log_config=None,
            forwarded_allow_ips="*", timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield sockets.prefect
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], str]]:
    """A function from a Unix socket to the address of a port that leads there."""
    opened: list[Door] = []
    log = tmp_path_factory.mktemp("logs") / "pages.log"

    def lead(socket: Path) -> str:
        listener = listen("--port", "127.0.0.1", 0)
        opened.append(Door([Entrance(listener, Forward(socket, "https", COOKIE))], log))
        opened[-1].__enter__()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield lead
    for one in opened:
        one.__exit__()
        assert not one.answers


@pytest.fixture(scope="module")
def place(behind: Path, door: Callable[[Path], str]) -> str:
    return door(behind)


def test_only_this_user_may_enter_the_folder_of_the_sockets(behind: Path) -> None:
    assert behind.parent.stat().st_mode & 0o777 == 0o700
    assert len(str(behind).encode()) < 104


def test_a_long_folder_for_temporary_files_does_not_matter(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("n" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with unix_sockets() as sockets:
        assert len(str(sockets.prefect).encode()) < 104
    assert not sockets.prefect.parent.exists()


def test_a_request_arrives_as_it_was_sent(place: str) -> None:
    sent = {
        "Accept-Encoding": "identity",
        "Cookie": f"other=1; {COOKIE}=secret; third=3",
        "Authorization": "Bearer secret",
        "Connection": "X-Hop",
        "X-Hop": "1",
        "X-Forwarded-For": "8.8.8.8",
    }
    answer = httpx.post(
        f"http://{place}/a%2Fb/c?q=%20x&q=2", content=b"x" * 3_000_000, headers=sent
    )
    said = answer.json()
    assert said["method"] == "POST"
    assert said["target"] == "/a%2Fb/c?q=%20x&q=2"
    assert said["size"] == 3_000_000
    assert said["scheme"] == "https", "as the browser sees it"
    headers = dict(said["headers"])
    assert headers["host"] == place
    assert headers["cookie"] == "other=1; third=3"
    assert headers["accept-encoding"] == "identity"
    assert not {"authorization", "x-hop", "x-forwarded-for"} & set(headers)
    assert answer.headers.get_list("set-cookie") == [
        "a=1; Path=/; SameSite=lax", "b=2; Path=/; SameSite=lax",
    ]  # fmt: skip


def test_a_body_of_unknown_length_arrives(place: str) -> None:
    said = httpx.post(f"http://{place}/", content=iter([b"ab", b"cde"])).json()
    assert said["size"] == 5


def test_what_was_not_sent_is_not_added(place: str) -> None:
    client = httpx.Client()
    client.headers.clear()
    with client:
        bare = client.build_request("GET", f"http://{place}/")
        headers = dict(client.send(bare).json()["headers"])
    assert set(headers) == {"host", "x-forwarded-proto"}, headers


def test_a_redirect_is_for_the_browser_and_names_its_address(place: str) -> None:
    answer = httpx.get(f"http://{place}/away")
    assert answer.status_code == 307
    assert answer.headers["location"].startswith(f"https://{place}/")


def test_an_answer_is_passed_on_as_it_comes(place: str) -> None:
    began = time.monotonic()
    with httpx.stream("GET", f"http://{place}/drip") as answer:
        assert next(answer.iter_lines()) == "first"
    assert time.monotonic() - began < 10


def test_a_server_that_is_not_there_may_be_asked_again(
    door: Callable[[Path], str], tmp_path: Path
) -> None:
    place = door(tmp_path / "nobody")
    answer = httpx.get(f"http://{place}/")
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    with pytest.raises(InvalidStatus):
        connect(f"ws://{place}/talk")


def test_a_websocket_talks_both_ways_and_closes_as_the_server_says(place: str) -> None:
    offered = [Subprotocol("prefect")]
    with connect(
        f"ws://{place}/talk?a=1", subprotocols=offered, user_agent_header="prefect/3"
    ) as socket:
        assert socket.subprotocol == "prefect"
        assert socket.recv() == '{"agent":"prefect/3","query":"a=1"}'
        for message in ("é" * 100_000, b"\x00\xff"):
            socket.send(message)
            assert socket.recv() == message
        socket.send("bye")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as you wish")


def test_a_websocket_that_the_server_refuses_is_refused(place: str) -> None:
    with pytest.raises(InvalidStatus):
        connect(f"ws://{place}/deny")


def test_with_a_certificate_the_port_speaks_tls_alone(
    behind: Path, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    listener = listen("--port", "127.0.0.1", 0)
    port, tls = listener.getsockname()[1], Certificate(*certificate)
    entrance = Entrance(listener, Forward(behind, "https", COOKIE), tls)
    trusted = ssl.create_default_context(cafile=certificate[0])
    with Door([entrance], tmp_path / "log"):
        answer = httpx.get(f"https://localhost:{port}/", verify=trusted)
        assert answer.json()["scheme"] == "https"
        with pytest.raises(httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{port}/")
