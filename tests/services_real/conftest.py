"""A real S3 for every test here, and the marker that keeps these tests apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.seaweed import BUCKET, OWNER, SeaweedServer, seaweed

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.engines)


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """SeaweedFS on loopback, for all tests."""
    with seaweed(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def as_user(
    weed: SeaweedServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[[tuple[str, str]], None]:
    """Let this process be a user of the server."""

    def be(user: tuple[str, str]) -> None:
        for name, value in weed.settings(user).items():
            monkeypatch.setenv(name, value)

    return be


@pytest.fixture
def bucket(as_user: Callable[[tuple[str, str]], None], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a prefix of its own, as the one who owns it; the store of this process."""
    as_user(OWNER)
    address = f"s3://{BUCKET}/{uuid4().hex[:12]}"
    monkeypatch.setenv("THREELOOPS_STORE", address)
    return address
