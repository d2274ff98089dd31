"""`threeloops up`: Prefect's server, MLflow's page and a worker with the deployments, on loopback.

It starts other people's servers and stops them again; what flows do is written in the flows.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from artifacts.home import Home, current_home
from artifacts.tracking import experiment_id
from flows.prefect_settings import UP_FILE, configure_prefect, write_up_file
from flows.terminal import Terminal
from schemas.errors import InputError, ThreeLoopsError

HOST = "127.0.0.1"
POOL = "threeloops"
PROJECT = Path(__file__).resolve().parent.parent
START_SECONDS = 180.0
STOP_SECONDS = 15.0
Process = subprocess.Popen[bytes]


class ServerStoppedError(ThreeLoopsError):
    """One of the servers ended by itself; its log says why."""


def serve(prefect_port: int, mlflow_port: int, terminal: Terminal) -> dict[str, Any]:
    """Run until Ctrl-C; everything that was started is stopped again, whatever happens."""
    home = current_home()
    for option, port in (("--prefect-port", prefect_port), ("--mlflow-port", mlflow_port)):
        refuse_taken(option, port)
    experiment_id(home)  # MLflow's first migration happens here, not in its page
    api, page = f"http://{HOST}:{prefect_port}/api", f"http://{HOST}:{mlflow_port}"
    environment = server_environment(home, api)
    logs = home.root / "logs"
    logs.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with contextlib.ExitStack() as stack:

        def start(name: str, *words: str) -> Process:
            return stack.enter_context(running(words, environment, logs / f"{name}.log"))

        terminal.note("starting Prefect's server and MLflow's page")
        processes = {
            "prefect-server": start(
                "prefect-server",
                *("prefect", "server", "start", "--host", HOST, "--port", str(prefect_port)),
            ),
            "mlflow": start(
                "mlflow",
                *("mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1"),
                *("--backend-store-uri", home.tracking_uri),
                *("--default-artifact-root", home.run_artifacts.as_uri()),
            ),
        }
        wait_until_it_answers(f"{api}/health", processes, logs)
        wait_until_it_answers(f"{page}/health", processes, logs)
        terminal.note("applying the deployments of prefect.yaml")
        apply_deployments(environment, logs / "deploy.log")
        processes["worker"] = start(
            "worker", "prefect", "worker", "start", "--pool", POOL, "--type", "process"
        )
        stack.callback((home.root / UP_FILE).unlink, missing_ok=True)
        write_up_file(home, api, page)
        terminal.out.print(f"Prefect  {api.removesuffix('/api')}")
        terminal.out.print(f"MLflow   {page}")
        terminal.out.print("Runs started in other terminals use these. Ctrl-C stops them.")
        with contextlib.suppress(KeyboardInterrupt):
            watch(processes, logs)
        terminal.note("stopping")
    return {"prefect": api, "mlflow": page, "stopped": True}


def server_environment(home: Home, api: str) -> dict[str, str]:
    """The environment that the servers and every flow run started by the worker live in."""
    configure_prefect(home)
    scripts = str(Path(sys.executable).parent)
    return os.environ | {
        "THREELOOPS_HOME": str(home.root),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def refuse_taken(option: str, port: int) -> None:
    """InputError when something already listens on a port of loopback."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise InputError(
                f"port {port} is taken by another program",
                f"{option} {port}",
                f"stop that program, or give another port with {option}",
            )


@contextlib.contextmanager
def running(words: tuple[str, ...], environment: dict[str, str], log: Path) -> Iterator[Process]:
    """A process in a group of its own, with its output in `log`; its whole group is stopped."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            words,
            env=environment,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: Process) -> None:
    """Ask a process and its children to end, and end them when they do not."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return


def wait_until_it_answers(url: str, processes: dict[str, Process], logs: Path) -> None:
    """Return when `url` answers; ServerStoppedError when a server ended or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        refuse_stopped(processes, logs)
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.3)
    raise ServerStoppedError(f"{url} did not answer in {START_SECONDS:.0f} s; see {logs}")


def refuse_stopped(processes: dict[str, Process], logs: Path) -> None:
    """ServerStoppedError when one of the processes has ended."""
    for name, process in processes.items():
        if process.poll() is not None:
            raise ServerStoppedError(
                f"{name} ended with code {process.returncode}; see {logs / name}.log"
            )


def apply_deployments(environment: dict[str, str], log: Path) -> None:
    """Make the work pool and apply every deployment of prefect.yaml."""
    commands = (
        ("prefect", "work-pool", "create", "--type", "process", "--overwrite", POOL),
        ("prefect", "--no-prompt", "deploy", "--all"),
    )
    with log.open("wb") as output:
        for words in commands:
            done = subprocess.run(
                words, env=environment, cwd=PROJECT, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            if done.returncode:
                raise ServerStoppedError(f"`{' '.join(words)}` failed; see {log}")


def watch(processes: dict[str, Process], logs: Path) -> None:
    """Wait for Ctrl-C; ServerStoppedError when a process ends before."""
    while True:
        time.sleep(1.0)
        refuse_stopped(processes, logs)
