"""Prefect's own server for one command: no signal and nobody else reaches it; it ends with it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

from artifacts.store.data_dir import DataDir
from artifacts.unsent.send import Outcome
from artifacts.unsent.servers import without_password
from flows.orchestration.guarded_server import (
    HEADERS,
    begun_server,
    end_orphans,
    new_secret,
    start_guarded,
)
from flows.orchestration.prefect_database import prepare_prefect_database
from flows.orchestration.stand_in import server_of_this_process
from flows.orchestration.untold import kept_for, prefect_address, tell_prefect
from schemas.errors import InputError, ThreeLoopsError, first_line

PATIENCE = 10.0  # seconds for an answer of the server that the user named


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
    _guard_own_server(data_dir)
    try:
        get_client(sync_client=True)
    except Exception as error:  # a server fails in many ways, all meaning: there is none
        raise NoServerError(
            f"Prefect's own server did not start: {first_line(error)} It listens on 127.0.0.1, "
            "which must be reachable; with PREFECT_API_URL another server is used"
        ) from None
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


def _guard_own_server(data_dir: DataDir) -> None:
    """Let Prefect start our program in place of its own, and send the secret with every request."""
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    server = server_of_this_process()
    if server.running:
        return
    settings = get_current_settings()
    begun = begun_server(data_dir)
    secret = begun.secret if begun else new_secret()

    def start() -> subprocess.Popen[Any]:
        nonlocal begun
        more = settings.to_environment_variables(exclude_unset=True)
        started, begun = begun or start_guarded(data_dir, secret, more), None
        server.port = started.port
        return started.process

    sent = settings.client.custom_headers | {"Authorization": f"Bearer {secret}"}
    os.environ[HEADERS] = json.dumps(sent)
    refresh_global_settings_context()
    # nobody watches for runs that died here; the thread that says it lives delays the end by 0.5 s
    get_current_settings().flows.heartbeat_frequency = None
    server.port = 0  # the system chooses one
    server._run_uvicorn_command = start


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
