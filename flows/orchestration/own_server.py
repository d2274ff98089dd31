"""Prefect's own server for one command, out of reach of Ctrl-C."""

from __future__ import annotations

import contextvars
import signal
import threading

from schemas.errors import ThreeLoopsError


class NoServerError(ThreeLoopsError):
    """Prefect's own server did not start, so no flow can run."""


def start_own_server() -> None:
    """Start the server that Prefect keeps for this process; nothing to do where one is given.

    A terminal sends Ctrl-C to every process that a command started. A server that ended then could
    not be told that the flow was stopped, and the command would wait for it for more than a minute.
    So it is started by a thread that blocks the signal, which a process inherits. Prefect ends the
    server with the command, by another signal. Raises NoServerError when it does not start.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL

    if PREFECT_API_URL.value():
        return
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
