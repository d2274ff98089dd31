"""A port that cannot be had is one line that says why, with the program that has it."""

from __future__ import annotations

import os

import pytest

from flows.services.ports import is_loopback, listen
from schemas.errors import InputError


def test_a_taken_port_is_named_with_what_holds_it() -> None:
    with listen("--prefect-port", "127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"port {port} is taken by process {os.getpid()}"):
            listen("--prefect-port", "127.0.0.1", port)


def test_a_port_can_be_had_again_at_once() -> None:
    with listen("--prefect-port", "127.0.0.1", 0) as first:
        port = first.getsockname()[1]
    with listen("--prefect-port", "127.0.0.1", port) as second:
        assert second.getsockname()[1] == port


@pytest.mark.parametrize("port", [70000, 65536, -1])
def test_a_number_that_is_no_port_is_one_line(port: int) -> None:
    with pytest.raises(InputError, match=rf"--mlflow-port {port}: no such port; give a number"):
        listen("--mlflow-port", "127.0.0.1", port)


@pytest.mark.parametrize("host", ["no such host", "a..b", "é" * 70])
def test_a_host_that_is_none_is_one_line(host: str) -> None:
    with pytest.raises(InputError, match="no such address; give a name or an address"):
        listen("--prefect-port", host, 0)
    assert not is_loopback(host)


def test_an_address_of_another_machine_is_one_line() -> None:
    with pytest.raises(InputError, match=r"--prefect-port 0 on 192\.0\.2\.1: this program may not"):
        listen("--prefect-port", "192.0.2.1", 0)


def test_loopback_is_what_only_this_machine_reaches() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1")))
