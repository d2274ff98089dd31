"""A program of its own: answer questions within limits of time and memory.

It is given another program, whose function `answer` it calls, and JSON objects on stdin, one a
line; it answers each with one on stdout. It imports nothing of this project, so that it starts in a
moment and can be started by its path.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import runpy
import sys
import time


def limit_memory(most: int) -> None:
    """Let the system refuse this process more memory, and keep no image of its memory."""
    for kind, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_AS, most)):
        with contextlib.suppress(ValueError, OSError):  # macOS does not know every limit
            resource.setrlimit(kind, (value, value))


def limit_seconds(more: float) -> None:
    """Let the system end this process when it computes so many seconds more than until now."""
    until = math.ceil(time.process_time() + more)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def main() -> None:
    """Answer each line of stdin until there are no more."""
    program, most = sys.argv[1], int(sys.argv[2])
    limit_memory(most)
    answer = runpy.run_path(program)["answer"]
    for line in sys.stdin:
        asked = json.loads(line)
        limit_seconds(asked["cpu_seconds"])
        # at once, so that nothing of an answer that fails is written
        sys.stdout.write(json.dumps(answer(asked)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
