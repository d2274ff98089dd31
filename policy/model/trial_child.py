"""A program of its own: render one chat template within limits of time and memory, and say how.

It is given a JSON object on stdin and writes one to stdout. It imports jinja2 alone, so that it
starts in a moment, and nothing of this project, so that it can be started by its path.
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
from datetime import datetime
from typing import Any


def limit(cpu_seconds: int, memory_bytes: int) -> None:
    """Let the system end this process when it takes more."""
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
    ):
        with contextlib.suppress(ValueError, OSError):  # macOS does not know every limit
            resource.setrlimit(kind, (most, most))


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


def answer(asked: dict[str, Any]) -> dict[str, str]:
    """The rendered text, or the reason why there is none."""
    try:
        text = environment().from_string(asked["template"]).render(**asked["variables"])
        if len(text) > asked["most_characters"]:
            return {"error": f"it makes {len(text):,} characters of one short question"}
        return {"text": text}
    except MemoryError:
        return {"error": "it needs too much memory"}
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        return {"error": reason or type(error).__name__, "kind": type(error).__name__}


def main() -> None:
    """Answer what stands on stdin."""
    asked = json.load(sys.stdin)
    limit(asked["cpu_seconds"], asked["memory_bytes"])
    json.dump(answer(asked), sys.stdout)


if __name__ == "__main__":
    main()
