"""Prefect's own server for one command: out of reach of Ctrl-C, and gone when the command is."""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
from collections.abc import Callable

import psutil

from artifacts.store.data_dir import DataDir
from artifacts.store.process import is_gone, process, this_process
from artifacts.unsent.send import Outcome
from flows.orchestration.prefect_database import prepare_prefect_database
from flows.orchestration.untold import kept_for, prefect_address, tell_prefect
from schemas.errors import InputError, ThreeLoopsError

PATIENCE = 10.0  # seconds for an answer of the server that the user named
FACTORY = "prefect.server.api.server:create_app"  # among the words that start one


class NoServerError(ThreeLoopsError):
    """Prefect's own server did not start, so no flow can run."""


def start_own_server(
    data_dir: DataDir, log_message: Callable[[str], None], outcome: Outcome | None = None
) -> None:
    """Start the server that Prefect keeps for this process, or see that the one given answers.

    A terminal sends Ctrl-C to every process that a command started. A server that ended then could
    not be told that the flow was stopped, and the command would wait for it for more than a minute.
    So it is started by a thread that blocks the signal, which a process inherits. Prefect ends the
    server with the command, by another signal. A command that is killed cannot do that: the next
    one ends its server. What this server could not be told earlier it is told now, and `outcome`
    says of it; without one, `log_message` does. Raises NoServerError when no server starts, and
    InputError when nobody answers at PREFECT_API_URL.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    if url := PREFECT_API_URL.value():
        _refuse_silence(url)
        _tell_what_is_kept(data_dir, log_message, outcome)
        return
    end_orphans(data_dir)
    prepare_prefect_database(data_dir, log_message)
    failed: list[Exception] = []

    def start() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            get_client(sync_client=True)
        except Exception as error:  # a server fails in many ways, all meaning: there is none
            failed.append(error)

    starting = threading.Thread(target=contextvars.copy_context().run, args=(start,), daemon=True)
    starting.start()
    starting.join()
    if failed:
        reason = (str(failed[0]).splitlines() or [type(failed[0]).__name__])[0]
        raise NoServerError(
            f"Prefect's own server did not start: {reason} It listens on 127.0.0.1, which must be "
            "reachable; with PREFECT_API_URL another server is used"
        )
    _remember_own(data_dir)
    _tell_what_is_kept(data_dir, log_message, outcome)


def _tell_what_is_kept(
    data_dir: DataDir, log_message: Callable[[str], None], outcome: Outcome | None
) -> None:
    """Tell the server how flow runs ended that it could not be told then."""
    if outcome is not None:
        tell_prefect(data_dir, outcome, reachable=True)
    elif kept_for(data_dir, prefect_address()):
        told = tell_prefect(data_dir, Outcome(), reachable=True)
        if ended := told.sent.total():
            log_message(f"told Prefect what was kept: how flow runs ended, {ended} of them")
        for reason in told.reasons:
            log_message(f"warning: {reason}")


def end_orphans(data_dir: DataDir) -> list[int]:
    """End the servers of commands that were killed; returns their process ids."""
    ended = []
    for record in (data_dir.prefect / "servers").glob("*.txt"):
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            owner, server = record.read_text().splitlines()
            if not is_gone(owner):
                continue
            if not is_gone(server):
                number = int(server.split()[-2])
                psutil.Process(number).terminate()
                ended.append(number)
            record.unlink()
    return ended


def _remember_own(data_dir: DataDir) -> None:
    """Write down which server belongs to this process."""
    folder = data_dir.prefect / "servers"
    folder.mkdir(exist_ok=True)
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
            f"PREFECT_API_URL={url}",
            "start it, or unset the variable to use a server of this command's own",
        ) from None
