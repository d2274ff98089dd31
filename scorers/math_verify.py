"""The lenient scorer `math_verify@1`: reward 1 if the package math-verify finds the integer equal.

No text is scored in this process. A text on which the package runs out of time, dies or raises has
a code that says so.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from schemas.errors import InputError
from schemas.finish_reasons import STOP
from scorers.scorer import Scorer, Verdict, verdict_table

SECONDS = 5.0  # for one text
START_SECONDS = 120.0  # for a worker to import the package
WORKERS = 4  # at most; never more than there are processors
WORKER = Path(__file__).with_name("math_verify_worker.py")
REMEDY = "pip install -e '.[math]' in the folder of threeloops"

OUTCOMES = {
    "equal": "correct",
    "not_equal": "wrong_answer",
    "nothing_found": "bad_format",
    "error": "bad_format",
    "timeout": "bad_format",
    "crashed": "bad_format",
}


def _installed() -> str:
    try:
        return version("math-verify")
    except PackageNotFoundError:
        return "which is not installed"


SPEC = "\n".join(
    [
        f"By the package math-verify ({_installed()}), with its default settings. Reward 1 if and",
        "only if finish_reason is stop and verify() takes something that parse() finds in the text",
        "to equal the expected integer; that includes decimals, fractions, LaTeX, expressions, and",
        "numbers equal to 6 decimals. Outcomes: truncated (code cut_off): finish_reason is not",
        "stop; correct (equal); wrong_answer (not_equal); bad_format (nothing_found): parse()",
        "finds nothing; bad_format (error): the package raised; bad_format (timeout): it took",
        f"longer than {SECONDS:g} seconds; bad_format (crashed): its process died. parsed_answer",
        "is the first expression found where that is an integer. Not deterministic: a slower",
        "machine times out more often.",
    ]
)


class _Worker:
    """One process that scores texts one at a time, and is replaced when it is stuck or dead."""

    def __enter__(self) -> _Worker:
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def ask(self, text: str, expected: str) -> dict[str, Any]:
        """The worker's answer, or `timeout` or `crashed` in its place."""
        answer = self._exchange({"text": text, "expected": expected}, SECONDS)
        if "parsed" not in answer:
            self._stop()
            self._start()
        return answer

    def _start(self) -> None:
        # by its path and with -P, so that modules of its folder hide none of the package's
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
        )
        if not self._exchange(None, START_SECONDS).get("ready"):
            self._stop()
            raise InputError("the package math-verify does not start", "math_verify@1", REMEDY)

    def _stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _exchange(self, question: dict[str, str] | None, seconds: float) -> dict[str, Any]:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def kill() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            if question is not None:
                process.stdin.write(json.dumps(question) + "\n")
                process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
            timer.join()  # after this the timer cannot kill the process any more
        if late.is_set():
            return {"verdict": "timeout"}
        if not line.endswith("\n"):
            return {"verdict": "crashed"}
        answer: dict[str, Any] = json.loads(line)
        return answer


def _score_columns(
    text: pa.ChunkedArray, finish_reason: pa.ChunkedArray, expected_answer: pa.ChunkedArray
) -> pa.Table:
    """Score each different text once, in worker processes, a thread for each of them."""
    if importlib.util.find_spec("math_verify") is None:
        raise InputError("it needs the package math-verify", "scorer math_verify@1", REMEDY)
    texts, reasons = text.to_pylist(), finish_reason.to_pylist()
    rows = list(zip(texts, reasons, expected_answer.to_pylist(), strict=True))
    questions = list(dict.fromkeys((t, e) for t, reason, e in rows if reason == STOP))
    workers = min(WORKERS, os.cpu_count() or 1, len(questions))
    answers: dict[tuple[str, str], dict[str, Any]] = {}
    queue = _Shared(questions)

    def work() -> None:
        with _Worker() as worker:
            for question in queue:
                answers[question] = worker.ask(*question)

    if workers:
        with ThreadPoolExecutor(workers) as pool:
            try:
                for done in [pool.submit(work) for _ in range(workers)]:
                    done.result()
            finally:
                queue.close()  # after an error or Ctrl-C the other workers only finish their text
    return verdict_table(
        _verdict(answers[t, e]) if reason == STOP else Verdict(0.0, "truncated", "cut_off", None)
        for t, reason, e in rows
    )


class _Shared:
    """Items that several threads take one by one, until there are none or it is closed."""

    def __init__(self, items: Sequence[tuple[str, str]]) -> None:
        self.items, self.lock = iter(items), threading.Lock()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        while True:
            with self.lock:
                item = next(self.items, None)
            if item is None:
                return
            yield item

    def close(self) -> None:
        with self.lock:
            self.items = iter(())


def _verdict(answer: dict[str, Any]) -> Verdict:
    code = answer["verdict"]
    return Verdict(float(code == "equal"), OUTCOMES[code], code, answer.get("parsed"))


MATH_VERIFY_1 = Scorer("math_verify", 1, SPEC, _score_columns)
