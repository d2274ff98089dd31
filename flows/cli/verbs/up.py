"""`threeloops up`: Prefect's server, MLflow's page and a worker with the deployments."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from artifacts.store.data_dir import DataDir
from artifacts.tracking.named import REGISTRY_AT, TRACKING
from artifacts.unsent.servers import without_password
from flows.cli.terminal import Terminal
from flows.orchestration.lost import close_lost_quietly
from flows.orchestration.prefect_database import prepare_prefect_database
from flows.orchestration.settings import configure_prefect
from flows.orchestration.up_file import Served, new_links, remove_up_file, running, write_up_file
from flows.services.addresses import Addresses
from flows.services.claim import claim, holders
from flows.services.deployments import POOL, PROJECT, apply_deployments
from flows.services.door import Door
from flows.services.events import EventLines, close_lost_runs
from flows.services.front import Behind, Front, unix_sockets
from flows.services.processes import (
    Interrupts,
    Server,
    ServerStoppedError,
    keep_alive,
    stop_together,
)
from schemas.errors import InputError
from schemas.outputs import UpOutput
from tasks.runtime.runtime import Runtime

LOST_SECONDS = 10  # between two looks at flow runs whose process was killed
UVICORN = (
    "--forwarded-allow-ips", "*",  # nobody but our own reaches a server's socket
    "--timeout-graceful-shutdown", "4",  # a page that is open does not hold up the end
)  # fmt: skip


def serve(runtime: Runtime, addresses: Addresses, terminal: Terminal) -> UpOutput:
    """Run until Ctrl-C; what dies is started again, and everything is stopped at the end.

    Where one runs already on this data folder, print links to that one.
    """
    addresses.check()
    with claim(runtime.data_dir) as lock:
        if lock is None:
            return _links_to_the_running_one(runtime.data_dir, terminal)
        return _serve(runtime, addresses, terminal, lock)


def _serve(runtime: Runtime, addresses: Addresses, terminal: Terminal, lock: int) -> UpOutput:
    data_dir = runtime.data_dir
    with contextlib.ExitStack() as stack:
        front = stack.enter_context(Front(data_dir, addresses))
        terminal.note("starting Prefect's server and MLflow's page")
        # MLflow's first migration happens here, not in its page
        _ = runtime.archive.tracking.experiment_id
        behind = stack.enter_context(unix_sockets())
        environment = server_environment(data_dir, front.served)
        prepare_prefect_database(data_dir, terminal.note)
        servers = _servers(data_dir, behind, environment, lock)
        log = servers[0].log.with_name("pages.log")
        door = stack.enter_context(Door(front.entrances(behind, terminal.note), log))
        *pages, worker = servers
        stack.callback(stop_together, pages)
        stack.callback(worker.stop)  # first: it tells Prefect's server what it cuts off
        # a shell has its jobs behind `&` ignore SIGINT, and what they start would inherit that
        interrupts = Interrupts()
        for sign in (signal.SIGINT, signal.SIGTERM):
            signal.signal(sign, interrupts)
        with contextlib.suppress(KeyboardInterrupt):
            _start(servers, environment, front.served, terminal)
            interrupts.raises = False
            stack.callback(remove_up_file, data_dir)
            write_up_file(data_dir, front.served)
            _print_links(terminal, front.links())
            if runtime.archive.tracking.remote:
                where = without_password(runtime.archive.tracking.address)
                terminal.note(f"runs are recorded in MLflow at {where}, and not on the page here")
            terminal.out.print("Runs started in other terminals use these. Ctrl-C stops them.")
            lines = EventLines(front.served, terminal.note)
            seconds = count(1)

            def between() -> None:
                if not door.answers:
                    raise ServerStoppedError(f"the pages stopped answering; see {log}")
                lines()
                if next(seconds) % LOST_SECONDS == 0:
                    close_lost_quietly(lines.client, runtime.archive.tracking)

            keep_alive(servers, terminal.note, between, interrupts)
        terminal.note("stopping")
    return UpOutput(prefect=front.served.prefect, mlflow=front.served.mlflow, stopped=True)


def _start(
    servers: Sequence[Server], environment: dict[str, str], served: Served, terminal: Terminal
) -> None:
    *answering, worker = servers
    for server in answering:
        server.start()
    for server in answering:
        server.wait_until_it_answers()
    terminal.note("applying the deployments of prefect.yaml")
    apply_deployments(environment, worker.log.with_name("deploy.log"))
    if lost := close_lost_runs(served, POOL):
        terminal.note(f"flow runs that ended with the last worker, now crashed: {lost}")
    worker.start()


def _links_to_the_running_one(data_dir: DataDir, terminal: Terminal) -> UpOutput:
    served = running(data_dir)
    if served is None:
        pids = " ".join(map(str, holders(data_dir))) or "unknown"
        raise InputError(
            "another `threeloops up` is starting or ending on this data folder, or was killed and "
            f"has left its servers (processes {pids})",
            str(data_dir.root),
            f"wait a minute, or end them with: kill {pids}",
        )
    links = new_links(served)
    terminal.note("`threeloops up` runs already; these are new links to it")
    _print_links(terminal, links)
    return UpOutput(prefect=served.prefect, mlflow=served.mlflow, stopped=False, links=links)


def _print_links(terminal: Terminal, links: dict[str, str]) -> None:
    for name, link in links.items():
        terminal.out.print(f"{name:8} {link}", soft_wrap=True, markup=False, highlight=False)
    terminal.out.print("Each link opens once. `threeloops up` in another terminal prints new ones.")


def _servers(
    data_dir: DataDir, behind: Behind, environment: dict[str, str], lock: int
) -> tuple[Server, Server, Server]:
    logs = data_dir.root / "logs"
    logs.mkdir(exist_ok=True)

    # the page shows the data folder's own database, whatever the flow runs are told to use
    own = {name: one for name, one in environment.items() if name not in (TRACKING, REGISTRY_AT)}

    def server(name: str, words: list[str], address: Path | None = None) -> Server:
        log, told = logs / f"{name}.log", own if name == "mlflow" else environment
        return Server(name, words, told, PROJECT, log, address, passed=[lock])

    prefect = server(
        "prefect-server",
        [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
         "--uds", str(behind.prefect), "--log-level", "warning", *UVICORN],
        behind.prefect,
    )  # fmt: skip
    prefect.health = "/api/health"
    mlflow = server(
        "mlflow",
        ["mlflow", "server", "--workers", "1",
         "--uvicorn-opts", shlex.join(["--uds", str(behind.mlflow), *UVICORN]),
         "--backend-store-uri", data_dir.tracking_uri,
         "--default-artifact-root", data_dir.run_artifacts.as_uri()],
        behind.mlflow,
    )  # fmt: skip
    return prefect, mlflow, server("worker", [sys.executable, "-m", "flows.services.worker"])


def server_environment(data_dir: DataDir, served: Served) -> dict[str, str]:
    """The environment that the servers and every flow run started by the worker live in."""
    configure_prefect(data_dir, patient=True)
    scripts = str(Path(sys.executable).parent)
    return (
        os.environ
        | served.environment()
        | {
            "THREELOOPS_HOME": str(data_dir.root),
            "PREFECT_SERVER_UI_API_URL": f"{served.prefect_page}/api",
            "PREFECT_LOGGING_LEVEL": "INFO",
            "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
            # what is checked in front of the servers, a second time
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": served.prefect_page,
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": served.mlflow,
            "MLFLOW_SERVER_ALLOWED_HOSTS": served.mlflow.partition("://")[2],
            # jobs of MLflow's page would look for its server on a port
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
        }
    )
