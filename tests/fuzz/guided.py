"""Inputs that a coverage-guided fuzzer makes for one reader, in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.tally import Tally


def is_here() -> bool:
    """Whether atheris can be imported."""
    return importlib.util.find_spec("atheris") is not None


def guided(name: str, seeds: Path, many: int, start: int) -> Tally:
    """The tally of `many` inputs that were made from those in `seeds`; it takes a process."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "tally.json"
        child = [sys.executable, "-m", "tests.fuzz.guided_child"]
        command = [*child, name, str(seeds), str(many), scratch, str(start)]
        log = Path(scratch) / "log"
        with log.open("wb") as output:
            # the fuzzer's own limits end it where a reader does not come back to Python
            code = subprocess.call(command, stdout=output, stderr=output)
        tally = Tally.from_json(result.read_text()) if result.exists() else Tally()
        if code:
            told = log.read_text(errors="replace")[-3000:]
            stopped = [path.read_bytes() for path in Path(scratch).glob("stop-*")]
            content = stopped[0] if stopped else b""
            tally.failures[f"the fuzzer ended with {code}"] = (told, content)
        return tally
