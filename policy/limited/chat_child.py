"""Render chat templates, as a program of `process_child.py`.

It imports jinja2 alone, so that it starts in a moment, and nothing of this project, so that it can
be started by its path.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any


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
