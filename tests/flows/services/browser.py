"""Headless Chromium, driven through its debugging protocol."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import connect
from websockets.sync.connection import Connection

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
Wait = Callable[..., Any]
# the text of a page with that of its frames of the same origin
TEXT = """(function text(w) {
  let all = w.document.body ? w.document.body.innerText : "";
  for (const f of w.document.querySelectorAll("iframe")) {
    try { all += "\\n" + text(f.contentWindow); } catch (error) {}
  }
  return all;
})"""


class Browser:
    """A page of headless Chromium, driven through its debugging protocol."""

    def __init__(self, socket: Connection, wait_for: Wait) -> None:
        self._socket, self._wait_for, self._calls = socket, wait_for, 0
        self.errors: list[str] = []
        self._call("Page.enable")
        self._call("Runtime.enable")

    def open(self, address: str, *expected: str, shot: str = "") -> str:
        """Go to an address, wait until its text holds all that is expected, and return the text."""
        for url in ("about:blank", address):  # else another fragment would load nothing anew
            self._call("Page.navigate", url=url)
        return self._see(address, expected, shot)

    def click(self, words: str, *expected: str, shot: str = "") -> str:
        """Click what has exactly these words, and wait as after `open`."""
        same = f"(one) => one.innerText && one.innerText.trim() === {json.dumps(words)}"
        self.run(f"[...document.querySelectorAll('body *')].filter({same}).at(-1).click()")
        return self._see(words, expected, shot)

    def _see(self, where: str, expected: tuple[str, ...], shot: str) -> str:
        said = ""

        def shows_all() -> bool:
            nonlocal said
            said = str(self.run(f"{TEXT}(window)") or "")
            return all(words in said for words in expected)

        try:
            self._wait_for(shows_all, f"{expected} on {where}", patience=60.0)
        except AssertionError:
            raise AssertionError(f"{expected} not all in {where}, which says: {said}") from None
        finally:
            self.keep(shot)
        return said

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer.get("result", {}).get("value")

    def keep(self, shot: str) -> None:
        """Save what is in sight as a picture, where pictures are wanted."""
        folder = os.environ.get("THREELOOPS_SCREENSHOTS")
        if folder and shot:
            image = self._call("Page.captureScreenshot", format="png")["data"]
            (Path(folder) / f"{shot}.png").write_bytes(base64.b64decode(image))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(answer["params"]["exceptionDetails"]))
            if answer.get("id") == self._calls:
                return dict(answer.get("result", {}))


@contextmanager
def chromium(folder: Path, wait_for: Wait) -> Iterator[Browser]:
    """Chromium with one page and a profile of its own."""
    words = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1500,1000",
        f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    port_file = folder / "DevToolsActivePort"
    assert CHROMIUM is not None
    with subprocess.Popen([CHROMIUM, *words], stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: port_file.exists() and port_file.read_text(), "Chromium")
            port = port_file.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
                (page,) = (one for one in json.load(answer) if one["type"] == "page")
            with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Browser(socket, wait_for)
        finally:
            process.terminate()
