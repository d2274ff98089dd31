"""A running `threeloops up`: its pages without a browser, and its processes."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil

from flows.orchestration.up_file import Served, new_links

TELLS_WHERE = {"PYTHONFAULTHANDLER": "1"}  # makes Python print its threads at SIGABRT


def end(process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Ctrl-C for a `threeloops up`.

    AssertionError with what it said, and where its threads are, when it has not ended in time.
    """
    process.send_signal(signal.SIGINT)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait()
        raise AssertionError(f"it did not end in {seconds:.0f} s:\n{log.read_text()}") from None


@contextlib.contextmanager
def signed_in(served: dict[str, str], page: str) -> Iterator[httpx.Client]:
    """A client that has opened a link to `Prefect` or `MLflow`, and asks as its page does.

    It goes to loopback itself: unlike browsers, Python may not know names below localhost.
    """
    link = httpx.URL(new_links(Served.model_validate(served))[page])
    place = link.netloc.decode()
    with httpx.Client(
        base_url=f"http://127.0.0.1:{link.port}",
        headers={"Host": place, "Origin": f"http://{place}"},
        trust_env=False,
        timeout=30,
    ) as client:
        client.get(link.raw_path.decode()).raise_for_status()
        yield client


def processes(home: str) -> Iterator[psutil.Process]:
    """Every process that has this data folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("THREELOOPS_HOME") == home:
                yield process
