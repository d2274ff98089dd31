"""Ports to listen on: what is wrong with one that cannot be had, and who has it."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket

import psutil

from schemas.errors import InputError

LOOPBACK = "127.0.0.1"


def listen(option: str, host: str, port: int) -> socket.socket:
    """A socket that listens; InputError when it cannot be had, with the program that has it."""
    if not 0 <= port < 2**16:
        raise InputError("no such port", f"{option} {port}", "give a number from 1 to 65535")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise InputError(
            "no such address", f"--host {host}", "give a name or an address of this machine"
        ) from None
    listener = socket.socket(family, kind)
    try:
        # without it a port could not be had for a minute after the last `up`
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} is taken by {_holder(port)}",
                f"{option} {port}",
                f"stop that program, or give another port with {option}",
            ) from None
        raise InputError(
            f"this program may not listen there ({error.strerror})",
            f"{option} {port} on {host}",
            "give a port above 1023, and an address of this machine",
        ) from None
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on a host."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = [str(one[4][0]).partition("%")[0] for one in found]
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(address).is_loopback for address in addresses)


def _holder(port: int) -> str:
    """Name and process id of what listens on a port, as far as this user may know."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("inet"):
            local = connection.laddr
            if connection.status == psutil.CONN_LISTEN and local and local.port == port:
                if connection.pid is None:
                    break
                process = psutil.Process(connection.pid)
                words = " ".join(process.cmdline())[:80] or process.name()
                return f"process {process.pid} ({words})"
    return "another program"
