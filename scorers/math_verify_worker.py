"""The worker process of `math_verify@1`: one question a line on stdin, one answer a line on stdout.

The parent process watches the time and kills this one when it takes too long. Nothing of threeloops
is imported, so that this starts as fast as the package math-verify allows.

    {"text": "…", "expected": "12"}  ->  {"verdict": "equal", "parsed": "12"}
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import Any

MEMORY_LIMIT = 4 << 30  # bytes; an expression like 9**9**9 must not fill the machine's memory


def main() -> None:
    """Answer until stdin ends."""
    with os.fdopen(os.dup(1), "w", encoding="ascii") as answers:
        sys.stdout = sys.stderr  # what a library prints is not an answer
        sys.set_int_max_str_digits(0)
        with contextlib.suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
        score_one = _load_package()
        _send(answers, {"ready": True})
        for line in sys.stdin:
            question = json.loads(line)
            try:
                answer = score_one(question["text"], question["expected"])
            except Exception as error:
                answer = {"verdict": "error", "parsed": None, "error": type(error).__name__}
            _send(answers, answer)


def _load_package() -> Any:
    sympy = importlib.import_module("sympy")
    library = importlib.import_module("math_verify")

    def score_one(text: str, expected: str) -> dict[str, str | None]:
        found = library.parse(text, parsing_timeout=None, raise_on_error=True)
        if not found:
            return {"verdict": "nothing_found", "parsed": None}
        equal = library.verify(
            sympy.Integer(expected), found, timeout_seconds=None, raise_on_error=True
        )
        whole = isinstance(found[0], sympy.Integer)
        return {
            "verdict": "equal" if equal else "not_equal",
            "parsed": str(found[0]) if whole else None,
        }

    return score_one


def _send(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
