"""A real browser and a certificate for the tests of what `threeloops up` serves."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.services.browser import Browser, Wait, chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, wait_for: Wait) -> Iterator[Browser]:
    """Chromium with one page."""
    with chromium(tmp_path_factory.mktemp("chromium"), wait_for) as opened:
        yield opened


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "cert.pem", folder / "key.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    written = ["-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run(["openssl", *words, *written], check=True, capture_output=True)
    return files
