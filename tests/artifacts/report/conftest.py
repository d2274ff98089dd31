"""A browser, where there is one, driven over its own protocol."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

PATIENCE = 30.0
MARKS = "document.documentElement?.dataset"
DRAWN = f"{MARKS}?.ready || {MARKS}?.failed"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Tab:
    """One page of a browser that cannot reach any network."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.calls = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol; what happens meanwhile is kept in `events`."""
        self.calls += 1
        self.connection.send(json.dumps({"id": self.calls, "method": method, "params": parameters}))
        while True:
            said = json.loads(self.connection.recv(timeout=PATIENCE))
            if said.get("id") == self.calls:
                assert "error" not in said, said
                return dict(said["result"])
            self.events.append(said)

    def js(self, expression: str) -> Any:
        """The value of an expression, after its promise if it is one."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> Any:
        """The value of an expression as soon as it is true; AssertionError if it never is."""
        end = time.monotonic() + PATIENCE
        while not (value := self.js(expression)):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)
        return value

    def open(self, page: Path) -> None:
        """Load a file and wait until it has drawn its tables."""
        self.call("Page.navigate", url=page.as_uri())
        self.until(DRAWN)

    @contextlib.contextmanager
    def frame(self) -> Iterator[Tab]:
        """The frame of another origin that the page holds, once it has drawn its tables."""
        from websockets.sync.client import connect

        port = self.connection.remote_address[1]
        end = time.monotonic() + PATIENCE
        while not (found := targets(port, "iframe")):
            assert time.monotonic() < end, "the page has no frame"
            time.sleep(0.05)
        with connect(found[0], max_size=None) as connection:
            tab = Tab(connection)
            tab.until(DRAWN)
            yield tab

    def requested(self) -> list[str]:
        """The address of everything that was asked for."""
        self.js("0")  # what happened until now has been read with its answer
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A page to look at; the test is skipped where no browser is installed."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    if binary is None:
        pytest.skip("no chromium here")
    from websockets.sync.client import connect

    profile = tmp_path_factory.mktemp("browser")
    browser = subprocess.Popen(
        [
            binary,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "--window-size=1280,1800",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_address(profile, browser), max_size=None) as connection:
            yield Tab(connection)
    finally:
        browser.terminate()
        browser.wait(PATIENCE)


def _address(profile: Path, browser: subprocess.Popen[bytes]) -> str:
    """Where the page's protocol is spoken."""
    said = profile / "DevToolsActivePort"
    end = time.monotonic() + PATIENCE
    while not (said.exists() and said.read_text().strip()):
        assert browser.poll() is None, "the browser ended at once"
        assert time.monotonic() < end, "the browser says no port"
        time.sleep(0.05)
    port = said.read_text().splitlines()[0]
    return targets(int(port), "page")[0]


def targets(port: int, kind: str) -> list[str]:
    """Where pages or frames speak the protocol."""
    with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
        return [one["webSocketDebuggerUrl"] for one in json.load(answer) if one["type"] == kind]
