"""Inside a command: sees every write, flush, rename and tracking call, and makes one go wrong.

A *point* is such a call with the nearest place of our own code and who called that, such as
`artifacts/store/atomic_file.py:write_atomic < artifacts/store/tables.py:_write replace`. The
product knows nothing of it.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(
    str(ROOT / folder) + os.sep for folder in ("artifacts", "flows", "policy", "schemas", "tasks")
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# functions of `os` that change a folder or a file, and which of their arguments are paths
CHANGES = {
    "fsync": 0,
    "link": 2,
    "mkdir": 1,
    "remove": 1,
    "rename": 2,
    "replace": 2,
    "rmdir": 1,
    "symlink": 2,
    "truncate": 1,
    "unlink": 1,
}
PLACES = 2
READING = ("get_", "search_", "list_", "download_", "load_", "_")


@dataclass(frozen=True)
class Plan:
    """What goes wrong in a command, and at which of its events, counted from 1.

    - `kill`: it kills itself there, before or, with `after`, behind the call.
    - `fill`: from there on its disk is full; `filler` is the file that fills it.
    - `refuse`: as `fill`, where no disk of its own could be mounted: this one call finds it full.
    - `steps`: the clock jumps by so many seconds at each of these events.
    """

    kill: int = 0
    after: bool = False
    fill: int = 0
    filler: str = ""
    refuse: int = 0
    steps: dict[int, float] = field(default_factory=dict)


class Tracer:
    """Counts the events of this process, writes each down, and lets the plan happen."""

    def __init__(self, folder: Path, record: Path, plan: Plan, step_clock: Callable[[float], None]):
        self._folder = str(folder)
        self._plan = plan
        self._step_clock = step_clock
        self._out = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._count = 0
        self._lock = threading.RLock()
        self._inside = threading.local()

    def install(self) -> None:
        """See everything from now on; it cannot be undone."""
        sys.addaudithook(self._audit)
        for name, paths in CHANGES.items():
            setattr(os, name, self._seen(getattr(os, name), name, paths))
        opened = self._opening(io.open)
        io.open = builtins.open = opened
        self._watch_weights()
        self._watch_tracking()

    def event(self, kind: str, detail: str, *, after: bool = False) -> int:
        """Something is about to happen; returns its number, which the call behind it repeats."""
        with self._lock:
            self._count += 1
            number = self._count
            line = f"{number}\t{place_of(sys._getframe(1))}\t{kind}\t{detail}\n"
            os.write(self._out, line.encode("utf-8", "backslashreplace"))
            plan = self._plan
            if number in plan.steps:
                self._step_clock(plan.steps[number])
            if number == plan.kill and not (plan.after and after):
                os.kill(os.getpid(), signal.SIGKILL)
            if number == plan.fill:
                fill(Path(plan.filler))
            if number == plan.refuse:
                raise OSError(28, os.strerror(28), detail)
        return number

    def done(self, number: int) -> None:
        """The call of this event has returned."""
        if number == self._plan.kill and self._plan.after:
            os.kill(os.getpid(), signal.SIGKILL)

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        # opening is seen here and not in a wrapper, because much of it is not written in Python
        if event != "open" or getattr(self._inside, "opening", False):
            return
        path, mode, flags = arguments
        if self._writes(mode, flags) and (name := self._below(path)):
            self.event("open", name)

    def _opening(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`open`, so that a kill may also come behind it, when the file is there and empty."""

        @functools.wraps(function)
        def opened(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
            name = self._below(file) if set(mode) & set("wxa+") else None
            if name is None:
                return function(file, mode, *arguments, **more)
            number = self.event("open", name, after=True)
            self._inside.opening = True
            try:
                found = function(file, mode, *arguments, **more)
            finally:
                self._inside.opening = False
            self.done(number)
            return found

        return opened

    def _seen(self, function: Callable[..., Any], kind: str, paths: int) -> Callable[..., Any]:
        @functools.wraps(function)
        def seen(*arguments: Any, **more: Any) -> Any:
            named = [self._below(path, more) for path in arguments[:paths]]
            names = [name for name in named if name] if paths else ["(handle)"]
            if paths == 0 and not self._own_handle(arguments[0]):
                return function(*arguments, **more)
            if not names:
                return function(*arguments, **more)
            number = self.event(kind, " -> ".join(names), after=True)
            found = function(*arguments, **more)
            self.done(number)
            return found

        return seen

    def _watch_weights(self) -> None:
        """Weights are written by a library that Python does not see."""
        library: Any = importlib.import_module("safetensors.torch")
        write = library.serialize_file

        @functools.wraps(write)
        def serialize_file(tensors: Any, filename: Any, *arguments: Any, **more: Any) -> Any:
            number = self.event("open", self._below(filename) or "(elsewhere)", after=True)
            write(tensors, filename, *arguments, **more)
            self.done(number)

        library.serialize_file = serialize_file

    def _watch_tracking(self) -> None:
        """Every call of MLflow's client that writes, and every commit to a database."""
        from mlflow import MlflowClient
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        for name, method in list(vars(MlflowClient).items()):
            if callable(method) and not name.startswith(READING):
                setattr(MlflowClient, name, self._call(method, name))
        event.listen(Engine, "commit", lambda connection: self.event("commit", "(database)"))

    def _call(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*arguments: Any, **more: Any) -> Any:
            detail = " ".join(str(value) for value in arguments[2:3] if isinstance(value, str))
            number = self.event(f"mlflow.{name}", detail[:40].replace("\n", " "), after=True)
            found = method(*arguments, **more)
            self.done(number)
            return found

        return call

    def _writes(self, mode: Any, flags: Any) -> bool:
        if isinstance(mode, str):
            return bool(set(mode) & set("wxa+"))
        return bool(flags & WRITING)

    def _below(self, path: Any, more: dict[str, Any] | None = None) -> str | None:
        """A path inside the data folder; None for any other."""
        if isinstance(path, int):
            return None
        name = os.fsdecode(path)
        if more and isinstance(handle := more.get("dir_fd"), int):
            name = f"{_opened_path(handle)}{os.sep}{name}"
        name = os.path.abspath(name)  # noqa: PTH100
        if name != self._folder and not name.startswith(self._folder + os.sep):
            return None
        return name[len(self._folder) :] or "/"

    def _own_handle(self, handle: Any) -> bool:
        number = handle if isinstance(handle, int) else handle.fileno()
        return _opened_path(number).startswith(self._folder)


def _opened_path(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())


def place_of(frame: Any) -> str:
    """The nearest function of our own code that leads to this frame, and who called its module.

    Many write through one function, and each of them is a place of its own.
    """
    found: list[str] = []
    before = ""
    while frame is not None and len(found) < PLACES:
        name = frame.f_code.co_filename
        if name.startswith(OURS) and name != before:
            found.append(f"{Path(name).relative_to(ROOT).as_posix()}:{frame.f_code.co_name}")
            before = name
        frame = frame.f_back
    return " < ".join(found) or "elsewhere"


def fill(filler: Path) -> None:
    """Take what is left of the disk that the filler lies on; nothing where it is full."""
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT, 0o600)
    block = b"\0" * 65536
    try:
        while True:
            size = os.write(handle, block)
            if size < len(block):
                block = b"\0" * 4096
    except OSError:
        pass
    finally:
        os.close(handle)
