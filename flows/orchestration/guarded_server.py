"""The process of Prefect's own server. It can start while this process still imports Prefect."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from artifacts.store.data_dir import DataDir
from artifacts.store.process import is_gone, process, this_process
from flows.orchestration.prefect_database import is_prepared

FACTORY = "prefect.server.api.server:create_app"  # among the words that start one
HEADERS = "PREFECT_CLIENT_CUSTOM_HEADERS"
PASSWORD = "PREFECT_SERVER_API_AUTH_STRING"
MIGRATES = "PREFECT_API_DATABASE_MIGRATE_ON_START"
# what may name another server than one of our own: an address, or a profile that has one
NAMES_ANOTHER = ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")
# where the packages lie; the working directory must not stand in for them
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (  # nothing that is imported is garbage
    f"import gc, sys; gc.disable(); sys.path.append({str(ROOT)!r}); "
    "from flows.services.alone import main; main()"
)


@dataclass(frozen=True)
class GuardedServer:
    """A server that answers whoever knows its secret, and ends with this process."""

    process: subprocess.Popen[Any]
    port: int
    secret: str


_begun: dict[Path, GuardedServer] = {}  # those that nobody has asked for yet, by data folder


def begin_server(data_dir: DataDir) -> None:
    """Start a server that `start_own_server` will ask for, where it is sure that it will.

    It takes as long to start as this process takes to import what a flow needs. Nothing is done
    where another server may be named, or where Prefect's database has to be made first.
    """
    own = os.environ.get("PREFECT_HOME") == str(data_dir.prefect)
    profiles = (data_dir.prefect / "profiles.toml").exists()
    named = any(name in os.environ for name in NAMES_ANOTHER)
    if own and not profiles and not named and is_prepared(data_dir) and data_dir.root not in _begun:
        end_orphans(data_dir)
        _begun[data_dir.root] = start_guarded(data_dir, new_secret())


def begun_server(data_dir: DataDir) -> GuardedServer | None:
    """The server that was begun for a data folder, once, if it still runs."""
    begun = _begun.pop(data_dir.root, None)
    return None if begun is None or begun.process.poll() is not None else begun


def new_secret() -> str:
    """What nobody guesses."""
    return secrets.token_urlsafe(32)


def start_guarded(
    data_dir: DataDir, secret: str, settings: Mapping[str, str] | None = None
) -> GuardedServer:
    """Start the program, on a port that nobody else can take before it listens there.

    `settings` are those of Prefect that stand elsewhere than in the environment.
    """
    environment = {
        name: value
        for name, value in (os.environ | (settings or {})).items()
        if name not in (HEADERS, PASSWORD)  # it has a password of its own
    } | {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",
    }
    if is_prepared(data_dir):  # to see that there is nothing to migrate takes a second
        environment[MIGRATES] = "0"
    # ends when this process does: it is the only one that holds the other end
    reading, writing = os.pipe()
    try:
        # the program listens once it can answer: until then Prefect's client is to be refused
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            started = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, FACTORY, str(listener.fileno())],
                env=environment,
                stdin=reading,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
            server = GuardedServer(started, int(listener.getsockname()[1]), secret)
    finally:
        os.close(reading)
    os.write(writing, f"{secret}\n".encode())
    _remember(data_dir, started.pid)
    return server


def end_orphans(data_dir: DataDir) -> list[int]:
    """End the servers of commands that were killed; returns their process ids."""
    ended = []
    for record, number in orphans(data_dir):
        with contextlib.suppress(OSError, psutil.Error):
            if number is not None:
                psutil.Process(number).terminate()
                ended.append(number)
            record.unlink()
    return ended


def orphans(data_dir: DataDir) -> list[tuple[Path, int | None]]:
    """The record of each server whose command is gone, with the server's process id if it runs."""
    found: list[tuple[Path, int | None]] = []
    for record in sorted((data_dir.prefect / "servers").glob("*.txt")):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            owner, server = record.read_text().splitlines()
            if is_gone(owner):
                found.append((record, None if is_gone(server) else int(server.split()[-2])))
    return found


def _remember(data_dir: DataDir, number: int) -> None:
    """Write down that a server belongs to this process."""
    folder = data_dir.prefect / "servers"
    # with a database that the user named nothing was made here yet
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(psutil.Error):
        words = f"{this_process()}\n{process(number)}\n"
        (folder / f"{number}.txt").write_text(words)
