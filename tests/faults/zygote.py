"""A process that has imported everything and forks one child a command, which starts at once.

Importing takes seconds, and hundreds of commands are killed here. It forks before any thread is
there. Requests come as lines of JSON on its input; each is answered by the child's process id and,
at its end, by its exit code, negative for a signal.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import select
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

TICK = 0.02  # seconds between two looks at what has ended
MODULES = (
    "artifacts.promotion.confirmation",
    "artifacts.registry.publish",
    "artifacts.report.write",
    "flows.cli.failures",
    "flows.cli.parser",
    "flows.cli.render.decision",
    "flows.cli.render.results",
    "flows.cli.terminal",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "mlflow.store.tracking.sqlalchemy_store",
    "opentelemetry.sdk.metrics",
    "pandera.pandas",
    "policy.learning.learner",
    "policy.sampling.sample",
    "safetensors.torch",
    "sqlalchemy.dialects.sqlite",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
)
WITH_PREFECT = (
    "flows.cli.verbs.past_runs",
    "flows.eval",
    "flows.gate",
    "flows.learning",
    "flows.selection",
    "prefect.engine",
)


def import_everything(*, prefect: bool) -> None:
    """What commands import; without Prefect, which reads its settings when it is imported."""
    for name in (*MODULES, *(WITH_PREFECT if prefect else ())):
        importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    gc.freeze()  # no child has to look through what is there already, which would copy it


def serve() -> None:
    """Fork a child for each request until the input ends."""
    import_everything(prefect="--without-prefect" not in sys.argv)
    assert threading.active_count() == 1, threading.enumerate()
    say({"ready": True})
    children: dict[int, int] = {}
    text, ended = b"", False
    while not ended or children:
        readable, _, _ = select.select([] if ended else [0], [], [], TICK)
        if readable:
            new = os.read(0, 65536)
            ended, text = not new, text + new
            *lines, text = text.split(b"\n")
            for line in lines:
                request = json.loads(line)
                child = os.fork()
                if child == 0:
                    become(request)
                children[child] = request["id"]
                say({"id": request["id"], "pid": child})
        for child in list(children):
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                say({"id": children.pop(child), "code": os.waitstatus_to_exitcode(status)})


def become(request: dict[str, Any]) -> NoReturn:
    """Be the command that was asked for, and end with its exit code."""
    for number, name in ((1, "out"), (2, "err")):
        handle = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    os.close(0)
    os.open(os.devnull, os.O_RDONLY)
    for name, value in request["environment"].items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    import secrets
    import tempfile

    from flows.cli.parser import main
    from tests.faults.tracing import Plan, Tracer

    tempfile.tempdir = None
    # what confirms a version is drawn by chance; here it has to be the same in every trial
    secrets.randbelow = lambda limit: 20261128 % limit  # type: ignore[assignment]
    plan = request["plan"] | {"steps": {int(k): v for k, v in request["plan"]["steps"].items()}}
    folder = Path(request["environment"]["THREELOOPS_HOME"])
    if request["trace"]:
        Tracer(folder, Path(request["trace"]), Plan(**plan), step_clock).install()
    try:
        code = main(request["arguments"])
    except SystemExit as stop:  # as the parser ends
        code = stop.code if isinstance(stop.code, int) else 1
    leave(code)


def leave(code: int) -> NoReturn:
    """End as Python does, but without freeing every object.

    In a fork that copies what it shares with its parent, which takes longer than a command.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads and ends pools
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def step_clock(seconds: float) -> None:
    """Put the wall clock of this process forward or back, in comparison with the true time."""
    ctypes.CDLL(None).set_clock_offset(ctypes.c_longlong(int(seconds)))


def say(answer: dict[str, Any]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    serve()
