"""Prefect's own server for one command: no signal and nobody else reaches it; it ends with it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from artifacts.store.data_dir import DataDir
from artifacts.store.process import is_gone, process, this_process
from artifacts.unsent.send import Outcome
from artifacts.unsent.servers import without_password
from flows.orchestration.prefect_database import prepare_prefect_database
from flows.orchestration.untold import kept_for, prefect_address, tell_prefect
from schemas.errors import InputError, ThreeLoopsError, first_line

PATIENCE = 10.0  # seconds for an answer of the server that the user named
FACTORY = "prefect.server.api.server:create_app"  # among the words that start one
HEADERS = "PREFECT_CLIENT_CUSTOM_HEADERS"
# where the packages lie; the working directory must not stand in for them
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (
    f"import sys; sys.path.append({str(ROOT)!r}); from flows.services.alone import main; main()"
)


class NoServerError(ThreeLoopsError):
    """Prefect's own server did not start, so no flow can run."""


def start_own_server(
    data_dir: DataDir, log_message: Callable[[str], None], outcome: Outcome | None = None
) -> None:
    """Start the server that Prefect keeps for this process, or see that the one given answers.

    A terminal sends Ctrl-C to every process that a command started, and a service manager sends
    SIGTERM to them. A server that ended then could not be told that the flow was stopped, and the
    command would wait for it for more than a minute. So it is in a session of its own. It ends with
    the command, however that ends, and answers to nobody else (see `flows.services.alone`). What
    this server could not be told earlier it is told now, and `outcome` says of it; without one,
    `log_message` does. Raises NoServerError when no server starts, and InputError when nobody
    answers at PREFECT_API_URL.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    if url := PREFECT_API_URL.value():
        _refuse_silence(url)
        _tell_what_is_kept(data_dir, log_message, outcome)
        return
    end_orphans(data_dir)
    prepare_prefect_database(data_dir, log_message)
    _guard_own_server()
    try:
        get_client(sync_client=True)
    except Exception as error:  # a server fails in many ways, all meaning: there is none
        raise NoServerError(
            f"Prefect's own server did not start: {first_line(error)} It listens on 127.0.0.1, "
            "which must be reachable; with PREFECT_API_URL another server is used"
        ) from None
    _remember_own(data_dir)
    _tell_what_is_kept(data_dir, log_message, outcome)


def _tell_what_is_kept(
    data_dir: DataDir, log_message: Callable[[str], None], outcome: Outcome | None
) -> None:
    """Tell the server how flow runs ended that it could not be told then."""
    if outcome is not None:
        tell_prefect(data_dir, outcome, reachable=True)
    elif kept_for(data_dir, prefect_address(data_dir)):
        told = tell_prefect(data_dir, Outcome(), reachable=True)
        if ended := told.sent.total():
            log_message(f"told Prefect what was kept: how flow runs ended, {ended} of them")
        for reason in told.reasons:
            log_message(f"warning: {reason}")


def _guard_own_server() -> None:
    """Let Prefect start our program in place of its own, and send the secret with every request."""
    from prefect.context import refresh_global_settings_context
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    server = SubprocessASGIServer()
    if server.running:
        return
    secret = secrets.token_urlsafe(32)
    sent = get_current_settings().client.custom_headers | {"Authorization": f"Bearer {secret}"}
    os.environ[HEADERS] = json.dumps(sent)
    refresh_global_settings_context()
    server.port = 0  # the system chooses one
    server._run_uvicorn_command = lambda: _run_guarded(server, secret)  # type: ignore[method-assign]


def _run_guarded(server: Any, secret: str) -> subprocess.Popen[Any]:
    """Start the program, on a port that nobody else can take before it listens there."""
    from prefect.settings import get_current_settings

    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    environment = {
        name: value
        for name, value in (os.environ | settings).items()
        if name not in (HEADERS, "PREFECT_SERVER_API_AUTH_STRING")  # a password of its own
    } | {
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "http://127.0.0.1",
    }
    # ends when this process does: it is the only one that holds the other end
    reading, writing = os.pipe()
    try:
        # the program listens once it can answer: until then Prefect's client is to be refused
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            server.port = listener.getsockname()[1]
            started = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, FACTORY, str(listener.fileno())],
                env=environment,
                stdin=reading,
                pass_fds=[listener.fileno()],
                start_new_session=True,
            )
    finally:
        os.close(reading)
    os.write(writing, f"{secret}\n".encode())
    return started


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


def _remember_own(data_dir: DataDir) -> None:
    """Write down which server belongs to this process."""
    folder = data_dir.prefect / "servers"
    # with a database that the user named nothing was made here yet
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children():
            if FACTORY in child.cmdline():
                words = f"{this_process()}\n{process(child.pid)}\n"
                (folder / f"{child.pid}.txt").write_text(words)


def _refuse_silence(url: str) -> None:
    import httpx

    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=PATIENCE)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise InputError(
            f"no Prefect server answers there ({type(error).__name__})",
            f"PREFECT_API_URL={without_password(url)}",
            "start it, or unset the variable to use a server of this command's own",
        ) from None
