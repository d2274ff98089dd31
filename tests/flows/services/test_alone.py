"""The Prefect server of one command answers nobody but that command, and does not outlive it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from artifacts.store.data_dir import DataDir
from flows.orchestration.guarded_server import FACTORY

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.untraced]
# starts a server as a command does, asks it something, and waits
COMMAND = """
import sys
from artifacts.store.data_dir import current_data_dir
from flows.orchestration.settings import configure_prefect
data_dir = current_data_dir()
configure_prefect(data_dir)
from flows.orchestration.own_server import start_own_server
start_own_server(data_dir, print)
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(len(client.read_flows()), client.api_url, flush=True)
import os
print(os.environ["PREFECT_CLIENT_CUSTOM_HEADERS"], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def command(data_dir: DataDir) -> Iterator[subprocess.Popen[str]]:
    """A command with a server of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= {"THREELOOPS_HOME": str(data_dir.root), "PREFECT_SERVER_API_AUTH_STRING": "a:b"}
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        yield started
        started.kill()


def test_only_the_command_is_answered_and_its_server_ends_with_it(
    command: subprocess.Popen[str],
) -> None:
    assert command.stdout is not None
    flows, url = command.stdout.readline().split()
    assert flows == "0"
    api = url.rstrip("/")
    authority = api.split("/")[2]
    (secret,) = json.loads(command.stdout.readline()).values()
    program = {"Authorization": secret}

    def asked(path: str = "/flows/filter", **headers: str) -> int:
        return httpx.post(f"{api}{path}", json={}, headers=headers).status_code

    assert asked(**program) == 200
    # another user of the machine, who can ask for anything
    assert asked() == 401
    assert asked(Authorization="Bearer guessed") == 401
    assert asked(Authorization="Basic YTpi") == 401
    assert asked("/deployments/") == 401
    assert asked("/health") == 401
    # a page in the browser, at its own name or at a name that it has turned to this machine
    assert asked(Origin="http://evil.example", **program) == 403
    assert asked(Host="evil.example", **program) == 403
    assert httpx.get(f"{api}/health").text == "true"
    assert httpx.get(f"{api}/health", headers={"Origin": "http://evil.example"}).status_code == 403
    assert httpx.get(f"{api}/health", headers={"Host": "evil.example"}).status_code == 403
    for path in ("/events/in", "/events/out", "/logs/out"):
        with pytest.raises(WebSocketException):
            asyncio.run(_opened(f"ws://{authority}/api{path}"))
    # nobody reads the secret in the list of processes
    (server,) = (
        child for child in psutil.Process(command.pid).children() if FACTORY in child.cmdline()
    )
    words = [" ".join(one.cmdline()) for one in (server, psutil.Process(command.pid))]
    assert not any(secret.split()[1] in line for line in words)

    command.kill()
    deadline = time.monotonic() + 30
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not server.is_running()


async def _opened(address: str) -> None:
    async with connect(address):
        pass
