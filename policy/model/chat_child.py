"""A program of its own: render chat templates within limits of time and memory.

It is given JSON objects on stdin, one a line, and answers each with one on stdout. It imports
jinja2 alone, so that it starts in a moment, and nothing of this project, so that it can be started
by its path.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import sys
import time
from datetime import datetime
from functools import lru_cache
from typing import Any


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


def environment() -> Any:
    """jinja's sandbox with what transformers adds to it for chat templates."""
    from jinja2 import TemplateError, ext, nodes
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(ext.Extension):
        """`{% generation %}` marks what the model wrote; a rendering shows it as it is."""

        tags = {"generation"}  # noqa: RUF012 - jinja's own way to say it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_shown"), [], [], body).set_lineno(line)

        def _shown(self, caller: Any) -> Any:
            return caller()

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, **how: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, **how)

    made = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made


@lru_cache(maxsize=1)
def compiled(template: str) -> Any:
    """The template as a program."""
    return environment().from_string(template)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The rendered texts, or the reason why there are none."""
    most = asked["most_characters"]
    texts: list[str] = []
    try:
        template = compiled(asked["template"])
        for chat in asked["chats"]:
            text = template.render(**asked["variables"], messages=chat)
            most -= len(text)
            if most < 0:
                return {"error": f"it makes {len(text):,} characters of one short question"}
            texts.append(text)
        return {"texts": texts}
    except MemoryError:
        return {"error": "it needs too much memory"}
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return {"error": reason or type(error).__name__, "kind": type(error).__name__}


def main() -> None:
    """Answer each line of stdin until there are no more."""
    limit_memory(int(sys.argv[1]))
    for line in sys.stdin:
        asked = json.loads(line)
        limit_seconds(asked["cpu_seconds"])
        # at once, so that nothing of an answer that fails is written
        sys.stdout.write(json.dumps(answer(asked)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
