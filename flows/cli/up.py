"""`threeloops up`: Prefect's server, MLflow's page and a worker with the deployments."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from artifacts.store.data_dir import DataDir
from flows.cli.terminal import Terminal
from flows.orchestration.settings import UP_FILE, configure_prefect, write_up_file
from flows.services.events import EventLines, close_lost_runs
from flows.services.processes import HOST, Server, ServerStoppedError, keep_alive, refuse_taken
from schemas.outputs import UpOutput
from tasks.runtime.runtime import Runtime

POOL = "threeloops"
LEARNERS = "learners"  # the queue of every deployment that learns
# where the packages lie, in a clone or among installed packages; entrypoints are relative to it
PROJECT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = PROJECT / "flows" / "prefect.yaml"


def serve(runtime: Runtime, prefect_port: int, mlflow_port: int, terminal: Terminal) -> UpOutput:
    """Run until Ctrl-C; what dies is started again, and everything is stopped at the end."""
    data_dir = runtime.data_dir
    for option, port in (("--prefect-port", prefect_port), ("--mlflow-port", mlflow_port)):
        refuse_taken(option, port)
    terminal.note("starting Prefect's server and MLflow's page")
    # MLflow's first migration happens here, not in its page
    _ = runtime.archive.tracking.experiment_id
    api, page = f"http://{HOST}:{prefect_port}/api", f"http://{HOST}:{mlflow_port}"
    environment = server_environment(data_dir, api)
    prefect, mlflow, worker = servers = _servers(data_dir, api, page, environment)
    # a shell has its jobs behind `&` ignore SIGINT, and what they start would inherit that
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
        with contextlib.suppress(KeyboardInterrupt):
            for server in (prefect, mlflow):
                server.start()
            for server in (prefect, mlflow):
                server.wait_until_it_answers()
            terminal.note("applying the deployments of prefect.yaml")
            apply_deployments(environment, prefect.log.with_name("deploy.log"))
            if lost := close_lost_runs(api, POOL):
                terminal.note(f"flow runs that ended with the last worker, now crashed: {lost}")
            worker.start()
            stack.callback((data_dir.root / UP_FILE).unlink, missing_ok=True)
            write_up_file(data_dir, api, page)
            terminal.out.print(f"Prefect  {api.removesuffix('/api')}")
            terminal.out.print(f"MLflow   {page}")
            terminal.out.print("Runs started in other terminals use these. Ctrl-C stops them.")
            keep_alive(servers, terminal.note, EventLines(api, terminal.note))
        terminal.note("stopping")
    return UpOutput(prefect=api, mlflow=page, stopped=True)


def _servers(
    data_dir: DataDir, api: str, page: str, environment: dict[str, str]
) -> tuple[Server, Server, Server]:
    logs = data_dir.root / "logs"
    logs.mkdir(exist_ok=True)

    def server(name: str, words: list[str], health: str | None = None) -> Server:
        return Server(name, words, environment, PROJECT, logs / f"{name}.log", health)

    def port(url: str) -> str:
        return url.removesuffix("/api").rpartition(":")[2]

    return (
        server(
            "prefect-server",
            ["prefect", "server", "start", "--host", HOST, "--port", port(api)],
            f"{api}/health",
        ),
        server(
            "mlflow",
            ["mlflow", "server", "--host", HOST, "--port", port(page), "--workers", "1",
             "--backend-store-uri", data_dir.tracking_uri,
             "--default-artifact-root", data_dir.run_artifacts.as_uri()],
            f"{page}/health",
        ),
        server("worker", ["prefect", "worker", "start", "--pool", POOL, "--type", "process"]),
    )  # fmt: skip


def server_environment(data_dir: DataDir, api: str) -> dict[str, str]:
    """The environment that the servers and every flow run started by the worker live in."""
    configure_prefect(data_dir)
    scripts = str(Path(sys.executable).parent)
    return os.environ | {
        "THREELOOPS_HOME": str(data_dir.root),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def apply_deployments(environment: dict[str, str], log: Path) -> None:
    """Make the work pool and apply every deployment of prefect.yaml."""
    commands = (
        ("prefect", "work-pool", "create", "--type", "process", "--overwrite", POOL),
        ("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS)),
        # made by the line above; two learners must not share the machine
        ("prefect", "work-queue", "set-concurrency-limit", LEARNERS, "1", "--pool", POOL),
    )
    with log.open("wb") as output:
        for words in commands:
            done = subprocess.run(
                words, env=environment, cwd=PROJECT, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            if done.returncode:
                raise ServerStoppedError(f"`{' '.join(words)}` failed; see {log}")
