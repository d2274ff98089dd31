"""Inputs through the whole command: exit codes, what is printed, and what is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from flows.cli.terminal import LONGEST_LINE

# a check of golden rows, a comparison and the gate may answer no
MAY_SAY_NO = {"rescore", "compare", "promote"}
STORY = ("Loop A", "Loop B", "Loop C", "reading the evidence", "warning: ", "loading ", "fetching ")
UNFINISHED = ("*.writing*", "*.partial*")


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    words: list[str]
    code: int | None
    out: str
    err: str


class Commands:
    """Commands in a folder of their own, each a fork of one process that has imported everything.

    `fresh` starts a new process instead, as a shell does.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.folder = root / "work"
        self.folder.mkdir(parents=True)
        self.environment = {**os.environ, "THREELOOPS_HOME": str(self.home), "COLUMNS": "80"}
        self.environment.pop("PREFECT_API_URL", None)

    def __enter__(self) -> Commands:
        log = self.root / "log"
        with log.open("wb") as errors:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.zygote"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, env=self.environment,
            )  # fmt: skip
        assert self._line() == "ready", log.read_text()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.close()
        self._zygote.wait(60)
        self._zygote.stdout.close()

    def run(self, words: list[str]) -> Outcome:
        """One command, forked."""
        assert self._zygote.stdin is not None
        out, err = self.root / "out", self.root / "err"
        asked = {"words": words, "folder": str(self.folder), "out": str(out), "err": str(err)}
        self._zygote.stdin.write(json.dumps(asked) + "\n")
        self._zygote.stdin.flush()
        code = self._line()
        assert code is None or isinstance(code, int), "the process that forks has ended"
        return Outcome(words, code, _text(out), _text(err))

    def fresh(self, words: list[str]) -> Outcome:
        """One command as a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.folder, env={**self.environment, "PYTHONPATH": str(Path.cwd())},
            capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=600,
        )  # fmt: skip
        return Outcome(words, done.returncode, done.stdout.decode(), done.stderr.decode())

    def _line(self) -> int | str | None:
        assert self._zygote.stdout is not None
        found: int | str | None = json.loads(self._zygote.stdout.readline() or '"ended"')
        return found

    def unfinished(self) -> list[Path]:
        """Files in the data folder that are not whole."""
        return [path for pattern in UNFINISHED for path in self.home.rglob(pattern)]


def check(outcome: Outcome) -> None:
    """AssertionError unless a command answered, or refused in one line."""
    told = f"{outcome.words!r}: exit {outcome.code}\n{outcome.err[-2000:]}"
    assert outcome.code is not None, f"too slow: {told}"
    said_no = outcome.code == 1 and outcome.words[0] in MAY_SAY_NO
    assert outcome.code in (0, 2) or said_no, told
    assert "Traceback" not in outcome.err + outcome.out, told
    if outcome.code == 2:
        assert outcome.out == "", told
        lines = outcome.err.split("\n")
        *notes, line, last = lines if len(lines) > 1 else ["", *lines]
        assert last == "", told
        assert line.startswith("threeloops: "), told
        assert line.isprintable(), told
        assert len(line) <= 10 * LONGEST_LINE, told
        assert all(note.startswith(STORY) for note in notes), told


def _text(path: Path) -> str:
    return path.read_bytes().decode()
