"""`python -m tests.fuzz.zygote`: a process that has imported the program, and forks for commands.

It reads one JSON object a line from stdin (`words`, `folder`, `out`, `err`) and answers with the
exit code, or with null where the command took too long.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from artifacts.store.data_dir import current_data_dir
from flows.orchestration.settings import configure_prefect
from tests.fuzz.judge import WAITING_SECONDS

# besides the verbs' own modules; Prefect reads its settings when it is imported, so it comes last
NEEDED = (
    "mlflow.store.tracking.sqlalchemy_store",
    "pandera.pandas",
    "transformers",
    "artifacts.compare.rescoring",
    "artifacts.runs.replay",
    "flows.cli.verbs.past_runs",
    "flows.preflight",
    "flows.eval",
    "flows.learning",
    "flows.selection",
)

# of computing; the first command in a data folder makes a database, which takes some of them
COMMAND_SECONDS = 30


def prepare() -> None:
    """Import what commands import."""
    configure_prefect(current_data_dir())
    for name in NEEDED:
        importlib.import_module(name)


def answer(asked: dict[str, str | list[str]]) -> int | None:
    """The exit code of one command, None where it had to be ended."""
    child = os.fork()
    if child == 0:
        _become(asked)
    started = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return None if code == -signal.SIGXCPU else code
        if time.monotonic() - started > WAITING_SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return None
        time.sleep(0.005)


def _become(asked: dict[str, str | list[str]]) -> NoReturn:
    """Be the command, and end."""
    code = 99
    try:
        os.setsid()
        flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
        places = [os.open("/dev/null", os.O_RDONLY)]
        places += [os.open(str(asked[name]), flags, 0o600) for name in ("out", "err")]
        for number, place in enumerate(places):
            os.dup2(place, number)
        os.chdir(str(asked["folder"]))
        resource.setrlimit(resource.RLIMIT_CPU, (COMMAND_SECONDS, COMMAND_SECONDS + 5))
        sys.argv = ["threeloops", *asked["words"]]
        from flows.cli.parser import main

        try:
            code = main(list(asked["words"]))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> None:
    """Answer until stdin ends."""
    prepare()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path.cwd()))
    main()
