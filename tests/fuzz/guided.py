"""Inputs that a coverage-guided fuzzer makes for one reader: `python -m tests.fuzz.guided …`.

It changes inputs at random and keeps those that reach new lines or branches of our code. It needs
atheris, which `make fuzz` installs apart.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.tally import Tally

ROOMS = ("artifacts", "flows", "policy", "schemas", "scorers", "csv", "json")
HEARTBEAT = 200  # inputs between two notes of the tally
MEMORY_MB = 4096


def is_here() -> bool:
    """Whether atheris can be imported."""
    return importlib.util.find_spec("atheris") is not None


def guided(name: str, seeds: Path, many: int, start: int) -> Tally:
    """The tally of `many` inputs that were made from those in `seeds`; it takes a process."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "tally.json"
        command = [sys.executable, "-m", "tests.fuzz.guided", name, str(seeds), str(many), scratch]
        log = Path(scratch) / "log"
        with log.open("wb") as output:
            # the fuzzer's own limits end it where a reader does not come back to Python
            code = subprocess.call([*command, str(start)], stdout=output, stderr=output)
        tally = Tally.from_json(result.read_text()) if result.exists() else Tally()
        if code:
            told = log.read_text(errors="replace")[-3000:]
            (input_file,) = [*Path(scratch).glob("stop-*")][:1] or [None]
            content = input_file.read_bytes() if input_file else b""
            tally.failures[f"the fuzzer ended with {code}"] = (told, content)
        return tally


def main(name: str, seeds: str, many: str, scratch: str, start: str) -> None:
    """Try inputs until there were `many`; the tally is written to a file in `scratch`."""
    import atheris

    with atheris.instrument_imports(include=list(ROOMS)):
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.room import Room

    target, room, tally = TARGETS[name], Room(Path(scratch) / "room"), Tally()
    result, most = Path(scratch) / "tally.json", int(many)

    def one(content: bytes) -> None:
        tally.add(target, content, room)
        if tally.inputs % HEARTBEAT == 0 or tally.inputs >= most:
            result.write_text(tally.as_json())

    limits = [f"-runs={most}", "-timeout=60", f"-rss_limit_mb={MEMORY_MB}", f"-seed={start}"]
    places = [f"-artifact_prefix={scratch}/stop-", "-max_len=4096", seeds]
    atheris.Setup(["guided", *limits, *places], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
